"""What is hidden of connectivity graphs, and which windows are reconstructed from which."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from tacit.errors import ConfigError, DataError


class FCMasks(NamedTuple):
    """What is hidden of a graph.

    nodes : (..., N) True where a node is masked.
    edges : (..., N, N) True where a pair is masked; symmetric, diagonal False.
    adj : (..., N, N) the links that message passing may use: those not masked.
    """

    nodes: Bool[Tensor, "*batch rois"]
    edges: Bool[Tensor, "*batch rois rois"]
    adj: Bool[Tensor, "*batch rois rois"]


def mask_nodes_edges(
    adj: Shaped[Tensor, "*batch rois rois"],
    node_ratio: float = 0.5,
    edge_ratio: float = 0.3,
    generator: torch.Generator | None = None,
) -> FCMasks:
    """Draw node and edge masks, each graph its own.

    round(rho_x N) nodes of every graph are masked (at least one), and every off-diagonal pair with
    probability rho_a, both directions together. How the paper draws its masks is not public: this
    is our specification.

    Raises
    ------
    ConfigError : `node_ratio` outside (0, 1]: without a masked node there is nothing to
        reconstruct; or `edge_ratio` outside [0, 1).

    >>> masks = mask_nodes_edges(torch.ones(4, 10, 10, dtype=torch.bool), 0.5, 0.3)
    >>> masks.nodes.sum(-1).tolist(), bool((masks.edges == masks.edges.mT).all())
    ([5, 5, 5, 5], True)
    """
    check_ratios(node_ratio, edge_ratio)
    n, device = adj.shape[-1], adj.device
    where = generator.device if generator is not None else device
    score = torch.rand(adj.shape[:-1], generator=generator, device=where).to(device)
    nodes = score.argsort(-1).argsort(-1) < max(1, round(node_ratio * n))
    draw = torch.rand(adj.shape, generator=generator, device=where).to(device) < edge_ratio
    upper = draw.triu(1)
    edges = upper | upper.transpose(-1, -2)
    return FCMasks(nodes, edges, adj.bool() & ~edges)


def check_ratios(node_ratio: float, edge_ratio: float) -> None:
    """Raise ``ConfigError`` unless the ratios of `mask_nodes_edges` can be used."""
    if not 0 < node_ratio <= 1:
        raise ConfigError(
            f"node_ratio must be in (0, 1], got {node_ratio}: without masked nodes the "
            "reconstruction loss is undefined."
        )
    if not 0 <= edge_ratio < 1:
        raise ConfigError(f"edge_ratio must be in [0, 1), got {edge_ratio}.")


def non_overlapping_gap(window: int, stride: int) -> int:
    """Windows apart from which on two windows share no point: ceil(window / stride).

    >>> non_overlapping_gap(40, 8), non_overlapping_gap(50, 3)
    (5, 17)
    """
    return math.ceil(window / stride)


def draw_triples(
    windows: int, shape: tuple[int, ...], gap: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions t_a < t < t_b among `windows`: t uniform, both gaps uniform in [gap, 2 gap].

    Where the recording ends before 2 gap, the gap is uniform up to the end.

    Raises
    ------
    DataError : fewer than 2 gap + 1 windows, so that no window has both neighbours.

    >>> before, centre, after = draw_triples(20, (3,), 5)
    >>> bool(((centre - before >= 5) & (after - centre <= 10)).all())
    True
    """
    if gap < 1:
        raise ConfigError(f"the gap between windows must be at least 1, got {gap}.")
    if windows < 2 * gap + 1:
        raise DataError(
            f"{windows} windows are too few to reconstruct one from two others at least {gap} "
            f"windows away: {2 * gap + 1} are needed. Use a shorter window or stride "
            "(--set encoder.window=SECONDS, encoder.stride=SECONDS), longer recordings, or "
            "temporal_weight=0."
        )
    u = torch.rand(3, *shape, generator=generator, device=generator.device if generator else None)
    centre = gap + _uniform(u[0], torch.tensor(windows - 2 * gap))
    back = gap + _uniform(u[1], (centre - gap + 1).clamp(max=gap + 1))
    ahead = gap + _uniform(u[2], (windows - centre - gap).clamp(max=gap + 1))
    return centre - back, centre, centre + ahead


def _uniform(u: Tensor, count: Tensor) -> Tensor:
    """Integers in [0, count) from numbers in [0, 1)."""
    return torch.minimum((u * count.to(u.device)).long(), count.to(u.device) - 1)
