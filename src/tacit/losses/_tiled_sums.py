"""Sums over the tiles of the pairwise matrix, with their gradients.

The matrix is made in the forward pass and again in the backward pass, so that memory is linear in
rows and columns. Where it serves its columns too (`TwoSided`), one product does for both
directions, and of the symmetric matrix of a batch with itself half the tiles are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._tiles import LOG2E, Plan

# exp(+-30) times any number of rows and any gradient is far from the ends of float32, so that
# logits below it need no running maximum.
_SAFE_LOGIT = 30.0


def is_bounded(queries: Tensor, keys: Tensor, scale: float) -> bool:
    """Whether no logit can be large, so that exponentials need no shift."""
    longest = [torch.linalg.vector_norm(x.detach(), dim=1).max() for x in (queries, keys)]
    return bool(abs(scale) * longest[0] * longest[1] <= _SAFE_LOGIT)


class RowSums(NamedTuple):
    """Of every row: log-sum-exp; softmax-weighted mean similarity; weighted mean of the keys."""

    lse: Tensor
    mean: Tensor | None
    key: Tensor | None


def row_sums(
    queries: Tensor,
    keys: Tensor,
    plan: Plan,
    *,
    bounded: bool,
    want_mean: bool = False,
    want_key: bool = False,
) -> RowSums:
    """One pass over all tiles; no gradient. `bounded`: no logit is large."""
    top = None if bounded else queries.new_full((len(queries),), -torch.inf)
    total = queries.new_zeros(len(queries))
    mean = torch.zeros_like(total) if want_mean else None
    key = torch.zeros_like(queries) if want_key else None
    for (rows, cols, _), similarity, weights in plan.logits(queries, keys):
        if top is not None:
            new_top = torch.maximum(top[rows], weights.amax(1))
            # A row with no column so far keeps -inf as its maximum; -inf - -inf is NaN.
            shift = new_top.masked_fill(new_top == -torch.inf, 0)
            weights.sub_(shift[:, None])
            rescale = (top[rows] - shift).exp2_()
            top[rows] = new_top
            for running in (total, mean):
                if running is not None:
                    running[rows] *= rescale
            if key is not None:
                key[rows] *= rescale[:, None]
        weights.exp2_()
        total[rows] += weights.sum(1)
        if key is not None:
            key[rows].addmm_(weights, keys[cols])
        if mean is not None:
            mean[rows] += weights.mul_(similarity).sum(1)
    lse = total.log() if top is None else top / LOG2E + total.log()
    return RowSums(
        lse,
        None if mean is None else mean / total,
        None if key is None else key / total[:, None],
    )


class RowSoftmax(torch.autograd.Function):
    """(log-sum-exp, softmax-weighted mean similarity) of each row, tile by tile."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        plan: Plan,
        bounded: bool,
        want_mean: bool,
        detach_weights: bool,
    ) -> tuple[Tensor, Tensor]:
        lse, mean, _ = row_sums(queries, keys, plan, bounded=bounded, want_mean=want_mean)
        mean = torch.zeros_like(lse) if mean is None else mean
        ctx.save_for_backward(queries, keys, lse, mean)
        ctx.settings = (plan, bounded, want_mean, detach_weights)
        return lse, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_lse: Tensor, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, lse, mean = ctx.saved_tensors
        plan, bounded, want_mean, detach_weights = ctx.settings
        # d lse_i / d s_ij = scale p_ij and d mean_i / d s_ij = p_ij (1 + scale (s_ij - mean_i)),
        # so the gradient of s_ij is p_ij (constant_i + slope_i s_ij).
        constant, slope = plan.scale * grad_lse, None
        if want_mean and detach_weights:
            constant = constant + grad_mean
        elif want_mean:
            constant = constant + grad_mean * (1 - plan.scale * mean)
            slope = grad_mean * plan.scale
        if bounded:  # exp(-lse) moves from every pair to the row
            constant = constant * (-lse).exp()
            slope = None if slope is None else slope * (-lse).exp()
        grad_q = torch.zeros_like(queries) if ctx.needs_input_grad[0] else None
        grad_k = torch.zeros_like(keys) if ctx.needs_input_grad[1] else None
        with torch.autocast(queries.device.type, enabled=False):
            for (rows, cols, _), similarity, weights in plan.logits(queries, keys):
                if not bounded:
                    weights.sub_(lse[rows, None] * LOG2E)
                weights.exp2_()
                if slope is None:
                    weights.mul_(constant[rows, None])
                else:
                    pair = (constant[rows, None], similarity, slope[rows, None])
                    weights.mul_(torch.addcmul(*pair, out=similarity))
                if grad_q is not None:
                    grad_q[rows].addmm_(weights, keys[cols])
                if grad_k is not None:
                    grad_k[cols].addmm_(weights.T, queries[rows])
        return grad_q, grad_k, None, None, None, None


class TwoSided(torch.autograd.Function):
    """Log-sum-exp of each row and of each column of bounded logits.

    With ``keys=None`` the queries are the keys as well: a triangular plan, and one result.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor | None, plan: Plan
    ) -> tuple[Tensor, Tensor]:
        row_total = queries.new_zeros(len(queries))
        col_total = row_total if keys is None else keys.new_zeros(len(keys))
        own = queries if keys is None else keys
        for (rows, cols, _), _, weights in plan.logits(queries, own):
            weights.exp2_()
            row_total[rows] += weights.sum(1)
            if keys is not None or rows != cols:
                col_total[cols] += weights.sum(0)
        lse = row_total.log()
        col_lse = lse.clone() if keys is None else col_total.log()
        ctx.save_for_backward(queries, keys, lse, col_lse)
        ctx.plan = plan
        if keys is None:
            ctx.mark_non_differentiable(col_lse)
        return lse, col_lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_row: Tensor, grad_col: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, lse, col_lse = ctx.saved_tensors
        plan, own = ctx.plan, queries if keys is None else keys
        row = plan.scale * grad_row * (-lse).exp()
        col = row if keys is None else plan.scale * grad_col * (-col_lse).exp()
        grad_q = torch.zeros_like(queries)
        grad_k = grad_q if keys is None else torch.zeros_like(keys)
        with torch.autocast(queries.device.type, enabled=False):
            for (rows, cols, _), similarity, weights in plan.logits(queries, own):
                factor = torch.add(row[rows, None], col[cols], out=similarity)
                weights.exp2_().mul_(factor)
                grad_q[rows].addmm_(weights, own[cols])
                if keys is not None or rows != cols:
                    grad_k[cols].addmm_(weights.T, queries[rows])
        return grad_q, None if keys is None else grad_k, None
