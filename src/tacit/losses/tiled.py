"""Row-wise log-sum-exp over all pairwise similarities without the pairwise matrix.

Every contrastive loss needs ``log sum_j exp(scale <q_i, k_j>)`` over some of the columns ``j``. The
plain form holds the ``rows x cols`` matrix (several times, for autograd). Here it is made tile by
tile: memory is linear in the number of rows and columns, values are the same.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ._common import full_precision
from ._mask import Mask, only_equal, raise_if_empty
from ._tiled_sums import RowSoftmax, TwoSided, is_bounded, row_sums
from ._tiles import LIVE, Plan, tiles_for

MEMORY_LIMIT = 64 * 2**20
"""Default bytes of temporary storage on a CPU."""
GPU_MEMORY_LIMIT = 512 * 2**20
"""The same on a GPU, where small tiles take as long as large ones."""

# On a CPU, the plain form is slower beyond this size: it streams every matrix through memory.
_CPU_DENSE = 4 * 2**20


def _dense_logits(queries: Tensor, keys: Tensor, scale: float, mask: Mask) -> tuple[Tensor, Tensor]:
    similarity = queries @ keys.T
    logits = similarity * scale
    excluded = mask.excluded(slice(0, len(queries)), slice(0, len(keys)))
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    return similarity, logits


def _check(queries: Tensor, keys: Tensor, scale: float, mask: Mask) -> None:
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
    mask.check(len(queries), len(keys))
    if len(keys) == 0 and len(queries) > 0:
        raise ValueError("keys is empty: no column to sum over; give at least one key")


def _without_padding(keys: Tensor, mask: Mask, padding: Tensor | None) -> tuple[Tensor, Mask]:
    if padding is None:
        return keys, mask
    if padding.shape != (len(keys),):
        raise ValueError(
            f"key_padding_mask must have shape ({len(keys)},), got {tuple(padding.shape)}"
        )
    if bool(padding.all()):
        raise ValueError("key_padding_mask marks every key as padding: no column to sum over")
    return keys[~padding], mask.without(padding)


def _plan(
    queries: Tensor,
    keys: Tensor,
    scale: float,
    mask: Mask,
    memory_limit: int | None,
    symmetric: bool = False,
) -> Plan | None:
    """The tiles, or ``None`` where the plain form fits the memory and is as fast."""
    rows, cols, itemsize = len(queries), len(keys), queries.element_size()
    on_cpu = queries.device.type == "cpu"
    if memory_limit is None:
        memory_limit = MEMORY_LIMIT if on_cpu else GPU_MEMORY_LIMIT
    if rows * cols * itemsize * LIVE <= (min(memory_limit, _CPU_DENSE) if on_cpu else memory_limit):
        return None
    return tiles_for(queries, keys, scale, mask, memory_limit, symmetric)


def _row_logsumexp(
    queries: Tensor, keys: Tensor, scale: float, mask: Mask, memory_limit: int | None
) -> Tensor:
    same = queries is keys and mask.is_symmetric()
    plan = _plan(queries, keys, scale, mask, memory_limit, same)
    if plan is None:
        return torch.logsumexp(_dense_logits(queries, keys, scale, mask)[1], dim=1)
    bounded = is_bounded(queries, keys, scale)
    if same and bounded:
        lse: Tensor = TwoSided.apply(queries, None, plan)[0]  # type: ignore[no-untyped-call]
        return lse
    plan = plan._replace(triangular=False) if same else plan
    if keys.requires_grad and torch.is_grad_enabled():
        lse = RowSoftmax.apply(queries, keys, plan, bounded, False, False)[0]  # type: ignore[no-untyped-call]
        return lse
    # Constant keys (a queue, a momentum encoder's batch): the gradient of a query is the weighted
    # mean of the keys, which the first pass can take along, so that there is no second one.
    wanted = queries.requires_grad and torch.is_grad_enabled()
    with torch.no_grad():
        lse, _, key = row_sums(queries, keys, plan, bounded=bounded, want_key=wanted)
    raise_if_empty(lse)  # here: the mean of no keys would hide it behind NaN
    return lse if key is None else lse + scale * ((queries - queries.detach()) * key).sum(1)


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
    key_padding_mask: Bool[Tensor, " cols"] | None = None,
    memory_limit: int | None = None,
) -> Float[Tensor, " rows"]:
    r"""Log-sum-exp of scaled inner products of every query with the keys, in linear memory.

    .. math:: \ell_i = \log \sum_{j \in S_i} \exp(\text{scale} \cdot \langle q_i, k_j \rangle)

    where :math:`S_i` is every column that is not left out. Inputs are used as they are (normalise
    them first for cosines). Exact: equal to the plain form to rounding, gradients included. For a
    learned scale, multiply the queries by it and leave ``scale`` at 1.

    Parameters
    ----------
    queries, keys
        Rows and columns of the similarity matrix. Pass one tensor as both where they are the same:
        the matrix is then symmetric, and half of it is computed.
    scale
        Inverse temperature.
    row_ids, col_ids
        Integer group of each row and column. With ``match="exclude"`` pairs of equal groups are
        left out (the same instance in all its views); with ``"only"`` all others are.
    self_index
        For each row one further column that is left out (the row itself); -1 for none.
    key_padding_mask
        True for columns that are left out of every row: keys that only fill up a batch.
    memory_limit
        Upper bound in bytes of the temporary storage (None: 64 MiB, on a GPU 512 MiB); sets the
        size of the tiles. Small problems that fit are computed in the plain form, which is then as
        fast.

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
    mask, scale = Mask(row_ids, col_ids, self_index, only_equal(match)), float(scale)
    _check(queries, keys, scale, mask)
    keys, mask = _without_padding(keys, mask, key_padding_mask)
    lse = _row_logsumexp(queries, keys, scale, mask, memory_limit)
    raise_if_empty(lse)
    return lse


@full_precision
def pairwise_logsumexp_both(
    queries: Float[Tensor, "rows dim"],
    keys: Float[Tensor, "cols dim"],
    scale: float = 1.0,
    *,
    row_ids: Int[Tensor, " rows"] | None = None,
    col_ids: Int[Tensor, " cols"] | None = None,
    match: Literal["exclude", "only"] = "exclude",
    memory_limit: int | None = None,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " cols"]]:
    r"""Log-sum-exp of every row and of every column of one matrix of scaled inner products.

    The two directions of a symmetric contrast (two views, two towers) for the price of one; the
    parameters are those of :func:`pairwise_logsumexp`.

    Examples
    --------
    >>> import torch
    >>> rows, cols = pairwise_logsumexp_both(torch.eye(2), torch.ones(3, 2))
    >>> rows.exp() / torch.e, cols.exp() / torch.e
    (tensor([3., 3.]), tensor([2., 2., 2.]))
    """
    mask, scale = Mask(row_ids, col_ids, None, only_equal(match)), float(scale)
    _check(queries, keys, scale, mask)
    plan = _plan(queries, keys, scale, mask, memory_limit)
    if plan is None:
        logits = _dense_logits(queries, keys, scale, mask)[1]
        both = torch.logsumexp(logits, 1), torch.logsumexp(logits, 0)
    elif is_bounded(queries, keys, scale):
        both = TwoSided.apply(queries, keys, plan)  # type: ignore[no-untyped-call]
    else:
        turned = Mask(col_ids, row_ids, None, mask.only_equal)
        both = (
            _row_logsumexp(queries, keys, scale, mask, memory_limit),
            _row_logsumexp(keys, queries, scale, turned, memory_limit),
        )
    for lse in both:
        raise_if_empty(lse)
    return both


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
    key_padding_mask: Bool[Tensor, " cols"] | None = None,
    detach_weights: bool = False,
    memory_limit: int | None = None,
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
    mask, scale = Mask(row_ids, col_ids, self_index, only_equal(match)), float(scale)
    _check(queries, keys, scale, mask)
    keys, mask = _without_padding(keys, mask, key_padding_mask)
    plan = _plan(queries, keys, scale, mask, memory_limit)
    if plan is None:
        similarity, logits = _dense_logits(queries, keys, scale, mask)
        raise_if_empty(logits.detach().amax(1) if len(queries) else logits.new_zeros(0))
        weights = torch.softmax(logits.detach() if detach_weights else logits, dim=1)
        return (weights * similarity).sum(1)
    bounded = is_bounded(queries, keys, scale)
    lse, mean = RowSoftmax.apply(queries, keys, plan, bounded, True, detach_weights)  # type: ignore[no-untyped-call]
    raise_if_empty(lse)
    return mean


@full_precision
def softmax_key_mean(
    queries: Float[Tensor, "rows dim"],
    keys: Float[Tensor, "cols dim"],
    scale: float = 1.0,
    *,
    memory_limit: int | None = None,
) -> tuple[Float[Tensor, "rows dim"], Float[Tensor, " rows"]]:
    r"""Mean of the keys under every query's softmax, and the log-sum-exp; both without gradient.

    An expectation with constant weights of a function linear in the key (the distance of unit
    vectors, to a queue) needs no more of the keys than that mean.

    Examples
    --------
    >>> import torch
    >>> softmax_key_mean(torch.eye(2), torch.tensor([[1.0, 0.0], [3.0, 4.0]]), 0.0)[0]
    tensor([[2., 2.],
            [2., 2.]])
    """
    mask, scale = Mask(), float(scale)
    _check(queries, keys, scale, mask)
    with torch.no_grad():
        plan = _plan(queries, keys, scale, mask, memory_limit)
        if plan is None:
            logits = _dense_logits(queries, keys, scale, mask)[1]
            return torch.softmax(logits, 1) @ keys, torch.logsumexp(logits, 1)
        bounded = is_bounded(queries, keys, scale)
        lse, _, key = row_sums(queries, keys, plan, bounded=bounded, want_key=True)
    assert key is not None
    return key, lse
