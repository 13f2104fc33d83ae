"""Softmax expectations of squared Euclidean distances, in memory linear in rows and columns.

``-t ||x - y||^2 = -t ||x||^2 + t <(x, 1), (2 y, -||y||^2)>``, so a softmax over negated distances
is a softmax over inner products of one longer vector, for which tiled forms exist.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, cat

from .tiled import pairwise_logsumexp, pairwise_softmax_mean


def squared_distances(
    x: Float[Tensor, "*batch rows dim"], y: Float[Tensor, "*batch cols dim"]
) -> Float[Tensor, "*batch rows cols"]:
    """All ``||x_i - y_j||^2``, never below zero."""
    products = x @ y.transpose(-1, -2)
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * products).clamp_min(0)


def _lifted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors whose inner product is ``||x||^2 - ||x - y||^2``."""
    queries = cat([x, x.new_ones(len(x), 1)], dim=1)
    keys = cat([2 * y, -y.square().sum(1, keepdim=True)], dim=1)
    return queries, keys


def expected_squared_distance(
    x: Float[Tensor, "rows dim"],
    y: Float[Tensor, "cols dim"],
    t: float,
    *,
    self_index: Int[Tensor, " rows"] | None = None,
    detach_weights: bool = False,
    memory_limit: int | None = None,
) -> Float[Tensor, " rows"]:
    """Mean of ``c_ij = ||x_i - y_j||^2`` over j, weighted by ``softmax_j(-t c_ij)``.

    ``self_index`` names one column of each row that is left out. The gradient flows through the
    weights unless they are detached.
    """
    queries, keys = _lifted(x, y)
    mean = pairwise_softmax_mean(
        queries,
        keys,
        t,
        self_index=self_index,
        detach_weights=detach_weights,
        memory_limit=memory_limit,
    )
    return (x.square().sum(1) - mean).clamp_min(0)


def logsumexp_squared_distance(
    x: Float[Tensor, "rows dim"],
    y: Float[Tensor, "cols dim"],
    t: float,
    *,
    self_index: Int[Tensor, " rows"] | None = None,
    memory_limit: int | None = None,
) -> Float[Tensor, " rows"]:
    """``log sum_j exp(-t ||x_i - y_j||^2)`` of every row."""
    queries, keys = _lifted(x, y)
    lse = pairwise_logsumexp(queries, keys, t, self_index=self_index, memory_limit=memory_limit)
    return lse - t * x.square().sum(1)
