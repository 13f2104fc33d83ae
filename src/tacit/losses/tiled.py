"""Row-wise log-sum-exp over all pairwise similarities without the pairwise matrix.

Every contrastive loss needs ``log sum_j exp(scale <q_i, k_j>)`` over some of the columns ``j``. The
plain form holds the ``rows x cols`` matrix (several times, for autograd). Here the matrix is made
tile by tile in the forward pass, with a running maximum and a running sum, and made again in the
backward pass: memory is linear in the number of rows and columns, values are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._common import full_precision

MEMORY_LIMIT = 64 * 2**20
"""Default bytes of temporary storage."""

# Matrices of the tile's size that are alive at once: similarities, logits, mask, exponentials.
_LIVE = 4
# On a CPU, tiles that stay in the cache are fastest, and beyond the second size faster than the
# plain form, which streams every intermediate matrix through memory.
_CPU_TILE = 4 * 2**20
_CPU_DENSE = 16 * 2**20


class _Mask(NamedTuple):
    """Which pairs (row, column) are left out of the sums."""

    row_ids: Tensor | None
    col_ids: Tensor | None
    self_index: Tensor | None
    only_equal: bool

    def excluded(self, rows: slice, cols: slice) -> Tensor | None:
        out = None
        if self.row_ids is not None and self.col_ids is not None:
            out = self.row_ids[rows, None] == self.col_ids[None, cols]
            if self.only_equal:
                out = ~out
        if self.self_index is not None:
            columns = torch.arange(cols.start, cols.stop, device=self.self_index.device)
            own = self.self_index[rows, None] == columns
            out = own if out is None else out | own
        return out


def _tile_shape(rows: int, cols: int, itemsize: int, memory_limit: int) -> tuple[int, int]:
    elements = max(memory_limit // (_LIVE * itemsize), 1)
    tile_rows = max(min(rows, math.isqrt(elements)), 1)
    return tile_rows, max(min(cols, elements // tile_rows), 1)


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


class _TiledSoftmax(torch.autograd.Function):
    """(log-sum-exp, softmax-weighted mean similarity) of each row, tile by tile."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        scale: float,
        mask: _Mask,
        tile: tuple[int, int],
        want_mean: bool,
        detach_weights: bool,
    ) -> tuple[Tensor, Tensor]:
        lse = queries.new_empty(len(queries))
        mean = queries.new_zeros(len(queries))
        for rows in _slices(len(queries), tile[0]):
            q = queries[rows]
            top = q.new_full((len(q),), -torch.inf)
            total = q.new_zeros(len(q))
            weighted = q.new_zeros(len(q))
            for cols in _slices(len(keys), tile[1]):
                similarity = q @ keys[cols].T
                logits = similarity * scale
                excluded = mask.excluded(rows, cols)
                if excluded is not None:
                    logits.masked_fill_(excluded, -torch.inf)
                new_top = torch.maximum(top, logits.amax(1))
                # A row with no column so far keeps -inf as its maximum; -inf - -inf is NaN.
                shift = new_top.masked_fill(new_top == -torch.inf, 0)
                weights = logits.sub_(shift[:, None]).exp_()
                rescale = (top - shift).exp()
                total = total * rescale + weights.sum(1)
                if want_mean:
                    weighted = weighted * rescale + weights.mul_(similarity).sum(1)
                top = new_top
            lse[rows] = top + total.log()
            if want_mean:
                mean[rows] = weighted / total
        ctx.save_for_backward(queries, keys, lse, mean)
        ctx.settings = (scale, mask, tile, want_mean, detach_weights)
        return lse, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_lse: Tensor, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, lse, mean = ctx.saved_tensors
        scale, mask, tile, want_mean, detach_weights = ctx.settings
        # d lse_i / d s_ij = scale p_ij and d mean_i / d s_ij = p_ij (1 + scale (s_ij - mean_i)),
        # so the gradient of s_ij is p_ij (constant_i + slope_i s_ij).
        constant = scale * grad_lse
        slope = None
        if want_mean:
            if detach_weights:
                constant = constant + grad_mean
            else:
                constant = constant + grad_mean * (1 - scale * mean)
                slope = grad_mean * scale
        need_q, need_k = ctx.needs_input_grad[:2]
        grad_q = torch.zeros_like(queries) if need_q else None
        grad_k = torch.zeros_like(keys) if need_k else None
        with torch.autocast(queries.device.type, enabled=False):
            for rows in _slices(len(queries), tile[0]):
                q = queries[rows]
                for cols in _slices(len(keys), tile[1]):
                    k = keys[cols]
                    similarity = q @ k.T
                    weights = (similarity * scale).sub_(lse[rows, None])
                    excluded = mask.excluded(rows, cols)
                    if excluded is not None:
                        weights.masked_fill_(excluded, -torch.inf)
                    weights.exp_()
                    if slope is None:
                        weights.mul_(constant[rows, None])
                    else:
                        factor = similarity.mul_(slope[rows, None]).add_(constant[rows, None])
                        weights.mul_(factor)
                    if grad_q is not None:
                        grad_q[rows].addmm_(weights, k)
                    if grad_k is not None:
                        grad_k[cols].addmm_(weights.T, q)
        return grad_q, grad_k, None, None, None, None, None


def _dense_softmax(
    queries: Tensor,
    keys: Tensor,
    scale: float,
    mask: _Mask,
    want_mean: bool,
    detach_weights: bool,
) -> tuple[Tensor, Tensor]:
    similarity = queries @ keys.T
    logits = similarity * scale
    excluded = mask.excluded(slice(0, len(queries)), slice(0, len(keys)))
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    lse = torch.logsumexp(logits, dim=1)
    if not want_mean:
        return lse, lse.new_zeros(len(lse))
    weights = torch.softmax(logits.detach() if detach_weights else logits, dim=1)
    return lse, (weights * similarity).sum(1)


def _check(queries: Tensor, keys: Tensor, scale: float, mask: _Mask) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            "queries and keys must be matrices (rows, dim) and (cols, dim) with the same dim, got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    if queries.dtype != keys.dtype:
        raise ValueError(
            f"queries and keys must have one dtype, got {queries.dtype} and {keys.dtype}"
        )
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}")
    if (mask.row_ids is None) != (mask.col_ids is None):
        raise ValueError("row_ids and col_ids belong together: give both or neither")
    for name, ids, length in (
        ("row_ids", mask.row_ids, len(queries)),
        ("col_ids", mask.col_ids, len(keys)),
        ("self_index", mask.self_index, len(queries)),
    ):
        if ids is not None and ids.shape != (length,):
            raise ValueError(f"{name} must have shape ({length},), got {tuple(ids.shape)}")


def _softmax(
    queries: Tensor,
    keys: Tensor,
    scale: float,
    mask: _Mask,
    memory_limit: int,
    want_mean: bool,
    detach_weights: bool = False,
) -> tuple[Tensor, Tensor]:
    scale = float(scale)
    _check(queries, keys, scale, mask)
    rows, cols, itemsize = len(queries), len(keys), queries.element_size()
    if cols == 0 and rows > 0:
        raise ValueError("keys is empty: no column to sum over; give at least one key")
    on_cpu = queries.device.type == "cpu"
    dense_limit = min(memory_limit, _CPU_DENSE) if on_cpu else memory_limit
    if rows * cols * itemsize * _LIVE <= dense_limit:
        lse, mean = _dense_softmax(queries, keys, scale, mask, want_mean, detach_weights)
    else:
        tile_limit = min(memory_limit, _CPU_TILE) if on_cpu else memory_limit
        tile = _tile_shape(rows, cols, itemsize, tile_limit)
        lse, mean = _TiledSoftmax.apply(queries, keys, scale, mask, tile, want_mean, detach_weights)  # type: ignore[no-untyped-call]
    empty = torch.isneginf(lse.detach())
    if bool(empty.any()):
        first = int(empty.nonzero()[0])
        raise ValueError(
            f"{int(empty.sum())} of {rows} rows (first: row {first}) have every column masked, so "
            "there is nothing to sum over; use a larger batch or check the ids (a batch of one "
            "instance has no negatives)"
        )
    return lse, mean


@full_precision
def pairwise_logsumexp(
    queries: Float[Tensor, "rows dim"],
    keys: Float[Tensor, "cols dim"],
    scale: float = 1.0,
    *,
    row_ids: Int[Tensor, " rows"] | None = None,
    col_ids: Int[Tensor, " cols"] | None = None,
    match: Literal["exclude", "only"] = "exclude",
    self_index: Int[Tensor, " rows"] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Float[Tensor, " rows"]:
    r"""Log-sum-exp of scaled inner products of every query with the keys, in linear memory.

    .. math:: \ell_i = \log \sum_{j \in S_i} \exp(\text{scale} \cdot \langle q_i, k_j \rangle)

    where :math:`S_i` is every column that is not left out. Inputs are used as they are (normalise
    them first for cosines). Exact: equal to the plain form to rounding, gradients included. For a
    learned scale, multiply the queries by it and leave ``scale`` at 1.

    Parameters
    ----------
    queries, keys
        Rows and columns of the similarity matrix.
    scale
        Inverse temperature.
    row_ids, col_ids
        Integer group of each row and column. With ``match="exclude"`` pairs of equal groups are
        left out (the same instance in all its views); with ``"only"`` all others are.
    self_index
        For each row one further column that is left out (the row itself); -1 for none.
    memory_limit
        Upper bound in bytes of the temporary storage; sets the size of the tiles. Small problems
        that fit are computed in the plain form, which is then faster.

    Returns
    -------
    Tensor of shape (rows,), float32 or float64.

    Raises
    ------
    ValueError
        On shapes that do not fit, or if a row has every column left out.

    Examples
    --------
    >>> import torch
    >>> u = torch.eye(3)
    >>> pairwise_logsumexp(u, u, 2.0, self_index=torch.arange(3)).exp()
    tensor([2., 2., 2.])
    """
    mask = _Mask(row_ids, col_ids, self_index, _only(match))
    return _softmax(queries, keys, scale, mask, memory_limit, want_mean=False)[0]


@full_precision
def pairwise_softmax_mean(
    queries: Float[Tensor, "rows dim"],
    keys: Float[Tensor, "cols dim"],
    scale: float = 1.0,
    *,
    row_ids: Int[Tensor, " rows"] | None = None,
    col_ids: Int[Tensor, " cols"] | None = None,
    match: Literal["exclude", "only"] = "exclude",
    self_index: Int[Tensor, " rows"] | None = None,
    detach_weights: bool = False,
    memory_limit: int = MEMORY_LIMIT,
) -> Float[Tensor, " rows"]:
    r"""Mean similarity of every query under its own softmax over the keys, in linear memory.

    .. math:: m_i = \sum_j w_{ij} \langle q_i, k_j \rangle, \qquad
              w_{ij} = \exp(\text{scale} \langle q_i, k_j \rangle - \ell_i)

    with :math:`\ell_i` and the parameters of :func:`pairwise_logsumexp`. It is the expected cost
    of losses that weight their negatives by distance.

    Parameters
    ----------
    detach_weights
        Treat the weights as constants: no gradient flows through them.

    Returns
    -------
    Tensor of shape (rows,); unscaled similarities.

    Examples
    --------
    >>> import torch
    >>> u = torch.eye(3)
    >>> pairwise_softmax_mean(u, u, 0.0)
    tensor([0.3333, 0.3333, 0.3333])
    """
    mask = _Mask(row_ids, col_ids, self_index, _only(match))
    return _softmax(queries, keys, scale, mask, memory_limit, True, detach_weights)[1]


def _only(match: str) -> bool:
    if match not in ("exclude", "only"):
        raise ValueError(f"match must be 'exclude' or 'only', got {match!r}")
    return match == "only"
