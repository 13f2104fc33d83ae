"""Edge lists: checks, tidying, and seeded neighbour sampling, all vectorised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tacit.errors import DataError


def check_edge_list(edges: np.ndarray, num_nodes: int, name: str) -> np.ndarray:
    """Edges as int64 (2, E).

    Raises
    ------
    DataError : another shape, not integers, or a node that does not exist (named).

    >>> check_edge_list(np.array([[0, 1], [1, 0]]), 2, "toy").dtype
    dtype('int64')
    """
    edges = np.asarray(edges)
    if edges.ndim == 2 and edges.shape[0] != 2 and edges.shape[1] == 2:
        edges = edges.T
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise DataError(f"{name}: edges must have shape (2, E) or (E, 2), not {edges.shape}.")
    whole = edges.dtype.kind in "iu" or (
        edges.dtype.kind in "bf" and np.isfinite(edges).all() and (edges == np.floor(edges)).all()
    )
    if edges.size and not whole:
        raise DataError(f"{name}: edges must be node numbers, not {edges.dtype} values.")
    edges = edges.astype(np.int64)
    if edges.size and (edges.min() < 0 or edges.max() >= num_nodes):
        position = int(np.flatnonzero(((edges < 0) | (edges >= num_nodes)).any(0))[0])
        pair = tuple(edges[:, position].tolist())
        raise DataError(
            f"{name}: edge {position} joins {pair}, but the nodes are 0..{num_nodes - 1}. "
            "Node numbers start at 0; every node needs a row of features."
        )
    return edges


def tidy_edges(edges: np.ndarray, num_nodes: int, *, undirected: bool = True) -> np.ndarray:
    """Every edge once, in both directions if `undirected`, without self-loops; sorted.

    >>> tidy_edges(np.array([[0, 0, 1, 2], [1, 1, 1, 0]]), 3).tolist()
    [[1, 2, 0, 0], [0, 0, 1, 2]]
    """
    source, target = edges
    if undirected:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    keep = source != target
    key = np.unique(target[keep] * np.int64(num_nodes) + source[keep])
    return np.stack([key % num_nodes, key // num_nodes])


def add_self_loops(edge_index: Tensor, num_nodes: int) -> Tensor:
    """The edges without self-loops, then one self-loop a node.

    >>> add_self_loops(torch.tensor([[0, 1], [1, 1]]), 2).tolist()
    [[0, 0, 1], [1, 0, 1]]
    """
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    loops = torch.arange(num_nodes, device=edge_index.device).expand(2, -1)
    return torch.cat([edge_index, loops], dim=1)


class NeighbourSampler:
    """Subgraphs around seed nodes: of every node reached, at most so many incoming edges a hop.

    Parameters
    ----------
    edges : (2, E) int64, sorted by target as `tidy_edges` gives them, no self-loops.
    num_nodes : nodes of the graph.
    fanouts : edges a node in the first, second ... hop; -1 takes all.

    >>> ring = tidy_edges(np.array([[0, 1, 2, 3], [1, 2, 3, 0]]), 4)
    >>> nodes, edges = NeighbourSampler(ring, 4, (1,))(np.array([2]), seed=0)
    >>> len(nodes), edges.shape, int(nodes[0])
    (2, (2, 1), 2)
    """

    def __init__(self, edges: np.ndarray, num_nodes: int, fanouts: Sequence[int]) -> None:
        if not fanouts or any(f < 1 and f != -1 for f in fanouts):
            raise DataError(f"fan-outs must be positive numbers (or -1 = all), not {fanouts}.")
        self.fanouts, self.num_nodes = tuple(fanouts), num_nodes
        self.source = edges[0]
        degree = np.bincount(edges[1], minlength=num_nodes)
        self.pointer = np.concatenate([[0], np.cumsum(degree)])

    def __call__(self, seeds: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """A subgraph, a pure function of `seeds` and `seed`.

        Returns
        -------
        nodes : (n,) node numbers, the distinct seeds first in their order.
        edges : (2, m) sampled edges by position in `nodes`, no self-loops.
        """
        rng = np.random.default_rng(seed)
        first = np.unique(seeds, return_index=True)[1]
        nodes = seeds[np.sort(first)]
        known = _Positions(nodes)
        frontier, parts = nodes, []
        for fanout in self.fanouts:
            source, target = self._hop(frontier, fanout, rng)
            parts.append((source, target))
            frontier = np.unique(source[known.missing(source)])
            known.add(frontier, len(nodes))
            nodes = np.concatenate([nodes, frontier])
        source, target = (np.concatenate(side) for side in zip(*parts, strict=True))
        return nodes, np.stack([known.of(source), known.of(target)])

    def _hop(
        self, frontier: np.ndarray, fanout: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        degree = self.pointer[frontier + 1] - self.pointer[frontier]
        owner = np.repeat(np.arange(len(frontier)), degree)
        start = np.cumsum(degree) - degree
        rank = np.arange(len(owner)) - start[owner]  # position of an edge among its node's
        edge = self.pointer[frontier][owner] + rank
        if fanout != -1 and (degree > fanout).any():
            # the `fanout` smallest of random keys: uniform without replacement
            order = np.lexsort((rng.random(len(owner)), owner))
            edge = edge[order][rank < fanout]
            owner = owner[rank < fanout]
        return self.source[edge], frontier[owner]


class _Positions:
    """Position of known nodes among the nodes of a subgraph, by sorted search."""

    def __init__(self, nodes: np.ndarray) -> None:
        self._nodes, self._position = np.empty(0, np.int64), np.empty(0, np.int64)
        self.add(nodes, 0)

    def add(self, nodes: np.ndarray, start: int) -> None:
        """Nodes (distinct, new) get the positions start, start + 1 ..."""
        joined = np.concatenate([self._nodes, nodes])
        position = np.concatenate([self._position, np.arange(start, start + len(nodes))])
        order = np.argsort(joined, kind="stable")
        self._nodes, self._position = joined[order], position[order]

    def _find(self, nodes: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._nodes, nodes).clip(max=len(self._nodes) - 1)

    def missing(self, nodes: np.ndarray) -> np.ndarray:
        """Boolean: not known yet."""
        return self._nodes[self._find(nodes)] != nodes

    def of(self, nodes: np.ndarray) -> np.ndarray:
        """Positions of known nodes."""
        return self._position[self._find(nodes)]
