"""Predict a structural property of every node."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csgraph
from torch import Tensor, nn

from tacit.errors import ConfigError

from ._base import PretextTask

LOW, HIGH = 2, 7  # degrees: at most 2, 3 to 7, more
CHUNK = 512  # sources of one pass of shortest paths

Property = Literal["degree", "pagerank", "closeness"]


class NodeProperty(PretextTask):
    """Degree in three classes (at most 2, 3 to 7, more), or a property as a number.

    L = mean cross-entropy over all nodes; with `regression` the mean squared error of degree,
    PageRank (damping 0.85) or closeness centrality. A self-loop counts 2.

    The official code computes thresholds from percentiles and then uses 2 and 7, as here.

    Parameters
    ----------
    target : "degree", "pagerank" or "closeness".
    regression : predict the number; only the degree has classes.

    References
    ----------
    Jin et al., 2020, section 3.1.1 (NodeProperty).
    """

    targets: Tensor

    def __init__(self, target: Property = "degree", *, regression: bool = False) -> None:
        if target not in PROPERTIES:
            raise ConfigError(f"target must be one of {', '.join(PROPERTIES)}, not '{target}'.")
        if target != "degree" and not regression:
            raise ConfigError(f"{target} has no classes: give regression=True.")
        self.target, self.regression = target, regression
        self.outputs = 1 if regression else 3

    def _targets(self) -> None:
        values = PROPERTIES[self.target](self.matrix)
        if self.regression:
            self.targets = torch.from_numpy(values)[:, None]
        else:
            self.targets = torch.from_numpy((values > LOW).astype(np.int64) + (values > HIGH))

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        if self.regression:
            return F.mse_loss(head(h), self.targets.to(h))
        return F.cross_entropy(head(h), self.targets.to(h.device))


def degree(matrix: object) -> np.ndarray:
    """Neighbours of every node; a self-loop counts 2."""
    return np.asarray(matrix.sum(1)).ravel() + matrix.diagonal()  # type: ignore[attr-defined]


def pagerank(matrix: object) -> np.ndarray:
    """PageRank with damping 0.85; sums to 1."""
    import networkx as nx  # here: a tenth of a second that only this needs

    ranks = nx.pagerank(nx.from_scipy_sparse_array(matrix), alpha=0.85)
    return np.array([ranks[node] for node in range(len(ranks))])


def closeness(matrix: object) -> np.ndarray:
    """Closeness centrality with the correction of Wasserman and Faust for several components."""
    n = matrix.shape[0]  # type: ignore[attr-defined]
    out = np.zeros(n)
    for start in range(0, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n))
        hops = csgraph.dijkstra(matrix, unweighted=True, indices=rows)
        reached = np.isfinite(hops)
        others, total = reached.sum(1) - 1, np.where(reached, hops, 0).sum(1)
        far = total > 0
        out[rows[far]] = others[far] ** 2 / total[far] / (n - 1)
    return out


PROPERTIES = {"degree": degree, "pagerank": pagerank, "closeness": closeness}
