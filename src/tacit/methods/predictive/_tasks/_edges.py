"""Predict edges that were taken out of the graph."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError

from ._base import PretextTask, pair_logits
from ._graph import without_loops
from ._sample import draw_pairs


class EdgeMask(PretextTask):
    """Tell masked edges from pairs of nodes without an edge, on the graph without those edges.

    Once, all but int((1 - ratio) E) of the E directed entries of the adjacency matrix are masked,
    and as many pairs without an edge are drawn. L = mean cross-entropy of Linear(|h_i - h_j|),
    1 = edge. Self-loops are never masked.

    As published, entries are masked one by one, so an edge may stay in one direction;
    `undirected` masks whole edges. The official code draws the pairs without an edge from
    a generator that is never seeded; here all draws are seeded.

    Parameters
    ----------
    ratio : share of the entries that is masked, in (0, 1).
    undirected : mask both directions of an edge.

    Raises
    ------
    ConfigError : ratio outside (0, 1): the loss of no edges is undefined.
    DataError : too few edges for one to be masked, or no pair of nodes without an edge.

    References
    ----------
    Jin et al., 2020, section 3.1.1 (EdgeMask).
    """

    outputs = 2
    pairs: Tensor
    targets: Tensor

    def __init__(self, ratio: float = 0.1, *, undirected: bool = False) -> None:
        if not 0 < ratio < 1:
            raise ConfigError(f"EdgeMask: ratio must be between 0 and 1, not {ratio}.")
        self.ratio, self.undirected = ratio, undirected

    def _targets(self) -> None:
        n = self.x.shape[0]
        plain = without_loops(self.matrix).tocoo()
        edges = np.stack([plain.row, plain.col]).astype(np.int64)
        if self.undirected:
            edges = edges[:, edges[0] < edges[1]]
        kept = int(edges.shape[1] * (1 - self.ratio))
        if kept == edges.shape[1]:
            raise DataError(
                f"EdgeMask: {self.ratio:g} of {edges.shape[1]} edges is less than one. "
                "Raise the ratio."
            )
        order = torch.randperm(edges.shape[1], generator=self.generator).numpy()
        kept_edges, masked = edges[:, order[:kept]], edges[:, order[kept:]]
        if self.undirected:
            kept_edges, masked = (np.concatenate([e, e[::-1]], 1) for e in (kept_edges, masked))
        upper = plain.row < plain.col
        codes = np.sort(plain.row[upper].astype(np.int64) * n + plain.col[upper])
        empty = draw_pairs(n, masked.shape[1], codes, self.generator)
        if empty.shape[1] == 0:
            raise DataError("EdgeMask: every pair of nodes has an edge; there is nothing to tell.")
        loops = self.edge_index[:, self.edge_index[0] == self.edge_index[1]]
        kept_index = torch.from_numpy(kept_edges).to(self.edge_index.device)
        self._view = torch.cat([kept_index, loops], dim=1)
        self.pairs = torch.from_numpy(np.concatenate([masked, empty], axis=1))
        self.targets = torch.zeros(self.pairs.shape[1], dtype=torch.int64)
        self.targets[: masked.shape[1]] = 1

    def train_view(self) -> tuple[Tensor, Tensor]:
        return self.x, self._view

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        return F.cross_entropy(pair_logits(h, self.pairs, head), self.targets.to(h.device))
