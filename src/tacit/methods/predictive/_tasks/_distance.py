"""Predict hops: between two nodes, or from a node to the centres of parts of the graph."""

from __future__ import annotations

import logging

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError

from ._base import PretextTask, pair_logits
from ._graph import inverse_hops, without_loops
from ._partition import centres, partition
from ._sample import draw, draw_pairs

logger = logging.getLogger("tacit.methods")

CHUNK = 256  # nodes whose neighbourhoods grow together
LISTED_PAIRS = 8_000_000  # near pairs that are kept: 64 MB


class PairwiseDistance(PretextTask):
    """Classify pairs of nodes by their distance: 1, 2, ... hops, `classes` or more (or no path).

    Each step `pairs` pairs i < j of every class are drawn (all, where there are fewer);
    L = mean cross-entropy of Linear(|h_i - h_j|).

    Pairs nearer than `classes` are listed once; far ones are drawn and refused when near, so no
    N x N matrix is held. Where the near pairs are more than 8 million, they (and the far ones)
    start from random nodes, as many as the list has room for.

    Parameters
    ----------
    classes : number of classes.
    pairs : pairs of a class in a step.

    Raises
    ------
    ConfigError : fewer than 2 classes or no pairs.
    DataError : one node.

    References
    ----------
    Jin et al., 2020, section 3.1.1 (PairwiseNodeDistance).
    """

    def __init__(self, classes: int = 4, *, pairs: int = 4000) -> None:
        if classes < 2 or pairs < 1:
            raise ConfigError(
                f"PairwiseDistance: at least 2 classes and 1 pair, not {classes} and {pairs}."
            )
        self.outputs, self.per_class = classes, pairs

    def _targets(self) -> None:
        n = self.x.shape[0]
        if n < 2:
            raise DataError("PairwiseDistance: one node has no pair.")
        order = torch.randperm(n, generator=self.generator).numpy()
        self._near, covered = near_pairs(self.matrix, self.outputs - 1, order)
        self._first = None if covered == n else np.sort(order[:covered])
        if self._first is not None:
            logger.info("PairwiseDistance: pairs start from %d of %d nodes.", covered, n)
        self._all_near = np.sort(np.concatenate(self._near))

    def sample(self) -> tuple[Tensor, Tensor]:
        """(2, P) pairs i < j of one step, and their (P,) classes; class c is c + 1 hops."""
        n = self.x.shape[0]
        found = []
        for codes in self._near:
            codes = codes[draw(len(codes), self.per_class, self.generator).numpy()]
            found.append(np.stack([codes // n, codes % n]))
        found.append(draw_pairs(n, self.per_class, self._all_near, self.generator, self._first))
        classes = np.repeat(np.arange(self.outputs), [pairs.shape[1] for pairs in found])
        return torch.from_numpy(np.concatenate(found, axis=1)), torch.from_numpy(classes)

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        pairs, classes = self.sample()
        return F.cross_entropy(pair_logits(h, pairs, head), classes.to(h.device))


class DistanceToClusters(PretextTask):
    """Regress the distances of every node to the centres of parts of the graph.

    The graph is cut into k parts (METIS where pymetis is installed); a centre is the node with most
    neighbours in its part. d_ic = 1 / hops(i, centre_c), 0 without a path and 0 at the centre
    itself; L = mean squared error of Linear(h) over all nodes and centres.

    The official code uses the position of a centre within its part as a node number, so that its
    centres are arbitrary nodes; here they are the centres.

    Parameters
    ----------
    clusters : k; published: 10 on Cora and CiteSeer, 30 on PubMed.

    Raises
    ------
    ConfigError : clusters below 1, or more than nodes.

    References
    ----------
    Jin et al., 2020, section 3.1.1 (Distance2Clusters).
    """

    targets: Tensor
    centres: Tensor

    def __init__(self, clusters: int = 10) -> None:
        if clusters < 1:
            raise ConfigError(f"clusters must be positive, not {clusters}.")
        self.outputs = clusters

    def _targets(self) -> None:
        plain = without_loops(self.matrix)
        found = centres(plain, partition(plain, self.outputs), self.outputs)
        self.centres = torch.from_numpy(found)
        self.targets = torch.from_numpy(inverse_hops(plain, found))

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        return F.mse_loss(head(h), self.targets.to(h))


def near_pairs(
    matrix: sparse.csr_matrix, hops: int, order: np.ndarray, room: int = LISTED_PAIRS
) -> tuple[list[np.ndarray], int]:
    """Pairs at distance 1, 2 ... `hops`, of which one node is among the first of `order`.

    Parameters
    ----------
    order : (N,) nodes in the order in which they are taken until `room` pairs are found.

    Returns
    -------
    codes : for every distance the sorted codes i * N + j of its pairs i < j.
    covered : nodes of `order` that were taken.

    >>> path = sparse.csr_matrix(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> codes, covered = near_pairs(path, 2, np.arange(4))
    >>> [[(int(c) // 4, int(c) % 4) for c in one] for one in codes], covered
    ([[(0, 1), (1, 2), (2, 3)], [(0, 2), (1, 3)]], 4)
    """
    n = matrix.shape[0]
    found: list[list[np.ndarray]] = [[] for _ in range(hops)]
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    total = covered = 0
    pattern = matrix.astype(bool)
    while covered < n and total < room:
        rows = order[covered : covered + CHUNK]
        one = (np.ones(len(rows), bool), (np.arange(len(rows)), rows))
        reached = frontier = sparse.csr_matrix(one, shape=(len(rows), n))
        for distance in range(hops):
            frontier = (frontier @ pattern) > reached  # boolean: reached now and not before
            reached = reached + frontier
            edge = frontier.tocoo()
            i, j = rows[edge.row], edge.col.astype(np.int64)
            new = rank[i] < rank[j]  # seen from the other end, a pair was or will be counted
            i, j = i[new], j[new]
            codes = np.minimum(i, j) * n + np.maximum(i, j)
            found[distance].append(codes)
            total += len(codes)
        covered += len(rows)
    return [np.sort(np.concatenate(parts)) for parts in found], covered
