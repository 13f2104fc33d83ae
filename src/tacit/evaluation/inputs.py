"""What every evaluation function accepts: matrices of rows as tensors, arrays or memory maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

Rows: TypeAlias = Float[Tensor, "n d"] | Float[np.ndarray, "n d"]
OtherRows: TypeAlias = Float[Tensor, "m d_other"] | Float[np.ndarray, "m d_other"]
Groups: TypeAlias = Float[Tensor, "n q d"] | Float[np.ndarray, "n q d"]
Values: TypeAlias = Float[Tensor, " k"] | Float[np.ndarray, " k"]
Labels: TypeAlias = Integer[Tensor, " n_labels"] | Integer[np.ndarray, " n_labels"]
OtherLabels: TypeAlias = Integer[Tensor, " m_labels"] | Integer[np.ndarray, " m_labels"]

#: bytes that one block of rows may take after conversion
BLOCK_BYTES = 64 * 2**20


def check_matrix(x: Tensor | np.ndarray, name: str, *, ndim: int = 2, rows: int = 1) -> None:
    """Raise ValueError unless `x` is a floating array of `ndim` axes with at least `rows` rows."""
    if not isinstance(x, (Tensor, np.ndarray)):
        raise ValueError(f"{name} must be a torch tensor or a numpy array, not {type(x).__name__}.")
    if x.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, but its shape is {tuple(x.shape)}.")
    floating = (
        x.dtype.is_floating_point if isinstance(x, Tensor) else np.issubdtype(x.dtype, np.floating)
    )
    if not floating:
        raise ValueError(f"{name} must hold floating-point numbers, not {x.dtype}.")
    if x.shape[0] < rows or 0 in x.shape:
        raise ValueError(f"{name} needs at least {rows} row(s), but its shape is {tuple(x.shape)}.")


def block_rows(width: int, dtype: torch.dtype = torch.float64) -> int:
    """How many rows of `width` numbers fit in one block."""
    return max(1, BLOCK_BYTES // (width * dtype.itemsize))


def to_tensor(x: Tensor | np.ndarray, dtype: torch.dtype) -> Tensor:
    """A detached tensor of `dtype`; arrays are copied, so that read-only memory maps work."""
    if isinstance(x, Tensor):
        return x.detach().to(dtype)
    return torch.from_numpy(np.array(x, dtype=str(dtype).removeprefix("torch.")))


def iter_blocks(
    x: Tensor | np.ndarray, dtype: torch.dtype, rows: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, block as a tensor of `dtype`): only one block is in memory at a time."""
    width = int(np.prod(x.shape[1:]))
    step = rows or block_rows(width, dtype)
    for start in range(0, x.shape[0], step):
        yield start, to_tensor(x[start : start + step], dtype)


def check_finite(x: Tensor | np.ndarray, name: str) -> None:
    """Raise ValueError with the number of rows that hold NaN or infinite values."""
    bad, first = 0, -1
    for start, block in iter_blocks(x, torch.float64):
        wrong = ~torch.isfinite(block.flatten(1).sum(1))
        count = int(wrong.sum())
        if count and first < 0:
            first = start + int(wrong.nonzero()[0])
        bad += count
    if bad:
        raise ValueError(
            f"{name}: {bad} of {x.shape[0]} rows hold NaN or infinite values (the first is row "
            f"{first}). Remove them, or find out why the encoder produced them."
        )


def unit_rows(x: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm; zero rows stay zero."""
    tiny = torch.finfo(x.dtype).tiny
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(tiny)


def check_labels(labels: Tensor | np.ndarray, n_rows: int, name: str) -> Tensor:
    """Labels as an int64 CPU tensor, one for each of `n_rows` rows."""
    out = torch.as_tensor(labels).detach().to("cpu", torch.int64)
    if out.ndim != 1 or out.shape[0] != n_rows:
        raise ValueError(
            f"{name} has shape {tuple(out.shape)}, but there are {n_rows} rows: "
            "one integer label is needed for each row."
        )
    return out


def check_same_width(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, name_a: str, name_b: str
) -> None:
    """Raise ValueError unless both matrices have the same number of columns."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{name_a} has {a.shape[1]} columns but {name_b} has {b.shape[1]}: both must come "
            "from the same encoder."
        )


def select_rows(x: Tensor | np.ndarray, index: Tensor) -> Tensor | np.ndarray:
    """Rows of `x` by an index tensor, for tensors and arrays alike."""
    return x[index.to(x.device)] if isinstance(x, Tensor) else x[index.cpu().numpy()]
