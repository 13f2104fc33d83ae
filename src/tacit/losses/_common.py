"""Input handling that every loss of this room shares: precision, checks, unit rows."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_HALF = (torch.float16, torch.bfloat16)


def _upcast(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in _HALF else value
    if type(value) in (list, tuple):
        return type(value)(_upcast(item) for item in value)
    return value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a loss in float32 or better: half inputs are upcast and autocast is switched off.

    Similarities divided by a small temperature lose their last digits in half precision, and a
    batch covariance can overflow it.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = _device_type((*args, *kwargs.values()))
        with torch.autocast(device_type=device, enabled=False):
            return function(
                *[_upcast(a) for a in args],  # type: ignore[arg-type]
                **{k: _upcast(v) for k, v in kwargs.items()},  # type: ignore[arg-type]
            )

    return wrapped


def _device_type(values: Iterable[Any]) -> str:
    for value in values:
        if isinstance(value, list | tuple) and value:
            value = value[0]
        if isinstance(value, Tensor):
            return value.device.type
    return "cpu"


def check_views(*views: Tensor, names: str = "z1, z2", minimum: int = 1) -> None:
    """Raise ``ValueError`` unless all views are finite-sized matrices of one shape."""
    first = views[0]
    for view in views:
        if view.ndim != 2:
            raise ValueError(
                f"{names}: expected matrices (batch, dim), got shape {tuple(view.shape)}; "
                "flatten or pool the features first"
            )
        if view.shape != first.shape:
            shapes = " and ".join(str(tuple(v.shape)) for v in views)
            raise ValueError(
                f"{names}: the views must have the same shape, row i of each from the same "
                f"instance; got {shapes}"
            )
    if first.shape[0] < minimum:
        raise ValueError(
            f"{names}: this loss needs at least {minimum} instances in the batch, got "
            f"{first.shape[0]}; use a larger batch (and drop_last=True)"
        )


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def unit_rows(z: Tensor, name: str = "embeddings") -> Tensor:
    """Rows divided by their L2 norm; a zero row stays zero with a warning.

    Raises
    ------
    ValueError
        If a row holds NaN or infinity.
    """
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    if not bool(torch.isfinite(norm).all()):
        bad = int((~torch.isfinite(norm)).sum())
        raise ValueError(
            f"{name}: {bad} of {norm.numel()} rows hold NaN or infinity; lower the learning rate, "
            "clip the gradient, or check the input for non-finite values"
        )
    if bool((norm == 0).any()):
        warnings.warn(
            f"{name}: {int((norm == 0).sum())} rows are exactly zero and have no direction",
            RuntimeWarning,
            stacklevel=3,
        )
    return z / norm.clamp_min(1e-12)


def reduce(values: Tensor, reduction: str, weight: float = 1.0) -> Tensor:
    """Apply ``"mean"``, times the weight of this process's rows, ``"sum"`` or ``"none"``."""
    if reduction == "mean":
        return weight * values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
