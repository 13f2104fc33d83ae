"""Dynamic functional connectivity: windows of region series as correlations and graphs."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tacit.errors import ConfigError, DataError

Constant = Literal["raise", "zero"]


def window_starts(
    points: int, window: int, stride: int, *, start: int = 0, last: bool = False
) -> Int[Tensor, " windows"]:
    """First points of the windows over `points` time points, counted from `start`.

    Windows start at 0, S, 2S, ... below `points - window`. A last full window that would start
    exactly at `points - window` is not used, as in the official code of STAGIN; `last=True` uses
    it.

    Raises
    ------
    DataError : fewer points than one window.

    >>> window_starts(100, 50, 25).tolist(), window_starts(100, 50, 25, last=True).tolist()
    ([0, 25], [0, 25, 50])
    """
    if window < 2 or stride < 1:
        raise ConfigError(
            f"a window needs at least 2 points and a stride of at least 1, got {window} and "
            f"{stride}."
        )
    found = torch.arange(0, max(points - window + int(last), 0), stride)
    if len(found) == 0:
        least = window + int(not last)
        raise DataError(
            f"a recording of {points} time points is too short for windows of {window}: at least "
            f"{least} are needed. Use a shorter window or longer recordings."
        )
    return found + start


def window_fc(
    ts: Float[Tensor, "batch time rois"],
    starts: Int[Tensor, "batch windows"] | Int[Tensor, " windows"],
    window: int,
    *,
    constant: Constant = "raise",
) -> Float[Tensor, "batch windows rois rois"]:
    """Pearson correlation inside chosen windows only, for memory: T x N^2 numbers are many.

    Parameters
    ----------
    ts : region series.
    starts : first points, the same for every recording, or of each recording.
    window : Gamma, points.
    constant : a region that does not vary inside a window has no correlation: "raise", or "zero"
        for 0 with every other region (1 with itself) and a warning.

    Returns
    -------
    In [-1, 1], symmetric, diagonal exactly 1.

    Raises
    ------
    DataError : NaN or infinity, or a constant region with `constant="raise"`.

    >>> ts = torch.tensor([[[0.0, 1.0], [1.0, -1.0], [2.0, -3.0]]])
    >>> window_fc(ts, torch.tensor([0]), 3).round(decimals=3)
    tensor([[[[ 1., -1.],
              [-1.,  1.]]]])
    """
    if constant not in ("raise", "zero"):
        raise ConfigError(f"constant must be 'raise' or 'zero', not {constant!r}.")
    first = starts.to(ts.device).expand(len(ts), -1)
    points = first[:, :, None] + torch.arange(window, device=ts.device)
    x = ts[torch.arange(len(ts), device=ts.device)[:, None, None], points].transpose(-1, -2)
    # from the first value on: a constant region becomes exactly zero, whatever its level
    x = x - x[..., :1]
    x = x - x.mean(-1, keepdim=True)
    x = x / x.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if not bool(torch.isfinite(norm).all()):
        batch, region = _where(~torch.isfinite(norm[..., 0]))
        raise DataError(
            f"recording {batch} of the batch has NaN or infinite values in region {region}; "
            "repair the series or leave the recording out."
        )
    flat = norm == 0
    if bool(flat.any()):
        batch, region = _where(flat[..., 0])
        message = (
            f"region {region} of recording {batch} of the batch is constant inside a window: its "
            "correlation is undefined"
        )
        if constant == "raise":
            raise DataError(f"{message}. Leave the region out, or use constant='zero'.")
        warnings.warn(f"{message} and set to 0.", RuntimeWarning, stacklevel=2)
    x = x / norm.masked_fill(flat, 1.0)
    fc = (x @ x.transpose(-1, -2)).clamp(-1.0, 1.0)
    fc.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return fc


def _where(bad: Tensor) -> tuple[int, int]:
    """Recording and region of the first True of (batch, windows, rois)."""
    batch, _, region = bad.nonzero()[0].tolist()
    return batch, region


def sliding_fc(
    ts: Float[Tensor, "batch time rois"],
    window: int,
    stride: int,
    length: int | None = None,
    start: int | None = None,
    *,
    last: bool = False,
    constant: Constant = "raise",
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "batch windows rois rois"], Int[Tensor, " windows"]]:
    """Dynamic functional connectivity: Pearson correlation in sliding windows.

    Parameters
    ----------
    ts : region series (B, Tmax, N).
    window, stride : Gamma and S, points; the published model has 50 and 3.
    length : use a crop of so many points; None: the whole series.
    start : first point of the crop; None draws one for the whole batch (0 where length is None).
    last : also use the last full window, that starts at length - window; see `window_starts`.
    constant : of `window_fc`.
    generator : of the random crop.

    Returns
    -------
    fc, starts : correlations (B, T, N, N) and the windows' first points, counted in `ts`.

    Raises
    ------
    DataError : too short, not finite, or constant.

    References
    ----------
    Kim, Ye, Kim, Learning Dynamic Graph Representation of Brain Connectome with Spatio-Temporal
    Attention, 2021 (STAGIN), section 3 and its official code.

    Examples
    --------
    >>> fc, starts = sliding_fc(torch.randn(2, 100, 5), window=40, stride=20)
    >>> fc.shape, starts.tolist()
    (torch.Size([2, 3, 5, 5]), [0, 20, 40])
    """
    if ts.ndim != 3:
        raise ValueError(
            f"expected series (batch, time, rois), got shape {tuple(ts.shape)}; add the batch axis "
            "to one recording with ts[None]"
        )
    points = ts.shape[1]
    size = points if length is None else length
    if size > points:
        raise DataError(f"a crop of {size} points does not fit in a recording of {points}.")
    if start is None:
        start = 0
        if length is not None:
            start = int(torch.randint(points - size + 1, (), generator=generator))
    if not 0 <= start <= points - size:
        raise DataError(
            f"a crop of {size} points that starts at {start} leaves the recording of {points}."
        )
    starts = window_starts(size, window, stride, start=start, last=last)
    return window_fc(ts, starts, window, constant=constant), starts


def sparsify_fc(
    fc: Float[Tensor, "*batch rois rois"], keep_percent: float = 30, *, negative: bool = False
) -> Bool[Tensor, "*batch rois rois"]:
    """Graph of the strongest links: True strictly above the (100 - s)-th percentile.

    The percentile is over all N^2 entries of a matrix, diagonal included, with linear
    interpolation; so only strong positive links stay, and self-loops wherever the percentile is
    below 1.

    Parameters
    ----------
    fc : correlation matrices.
    keep_percent : s in (0, 100].
    negative : rank by magnitude, so that strong negative links stay too (not in STAGIN).

    Examples
    --------
    >>> fc = torch.tensor([[1.0, 0.8, -0.9], [0.8, 1.0, 0.1], [-0.9, 0.1, 1.0]])
    >>> sparsify_fc(fc, 60).int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    >>> sparsify_fc(fc, 60, negative=True).int().tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    if not 0 < keep_percent <= 100:
        raise ConfigError(f"keep_percent must be in (0, 100], got {keep_percent}.")
    strength = fc.abs() if negative else fc
    flat = strength.flatten(-2)
    position = (100 - keep_percent) * (flat.shape[-1] - 1) / 100
    low = math.floor(position)
    below = flat.kthvalue(low + 1, dim=-1).values.double()
    above = flat.kthvalue(min(low + 2, flat.shape[-1]), dim=-1).values.double()
    weight = position - low
    # from the nearer side: of two equal entries (every pair stands twice) it is exactly that value
    step = above - below
    cut = (below + step * weight if weight < 0.5 else above - step * (1 - weight)).to(fc.dtype)
    return strength > cut[..., None, None]
