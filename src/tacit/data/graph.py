"""One graph whose samples are its nodes: whole in every batch, or sampled around the samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from tacit.data.base import Source, Split
from tacit.data.graph_batch import (
    GraphBatch,
    Matrix,
    as_matrix,
    as_tensor,
    content_hash,
    with_loops,
)
from tacit.data.graph_edges import (
    NeighbourSampler,
    add_self_loops,
    check_edge_list,
    tidy_edges,
)
from tacit.data.graph_set import GraphSetSource
from tacit.errors import DataError

__all__ = ["GraphBatch", "GraphSetSource", "GraphSource", "add_self_loops", "tidy_edges"]

LARGE = 200_000  # nodes from which neighbours are sampled unless the user says otherwise
FANOUTS = (10, 10)


class GraphSource(Source):
    """The nodes of one graph. Every batch is the whole graph, or a sampled part of it.

    Edges are made undirected (unless `undirected=False`), duplicates and self-loops are dropped,
    and one self-loop a node is added: an isolated node has its own. Features that are mostly zero
    stay sparse. Splits are the public ones where the data has them.

    Parameters
    ----------
    name : what messages call it.
    x : (N, F) dense or scipy CSR features.
    edges : (2, E) integers.
    labels : (N,) int64, -1 where a node has none.
    train, val, test : boolean masks (N,) or positions of the public split.
    fanouts : neighbours a hop; None = the whole graph in every batch. From 200,000 nodes the
        default is (10, 10).
    undirected : add the reverse of every edge.

    Raises
    ------
    DataError : no nodes, an edge to a node that does not exist, NaN features, an empty split.

    >>> source = GraphSource("toy", np.eye(3, dtype=np.float32), np.array([[0], [1]]))
    >>> source.batch([2]).edge_index.tolist(), len(source.batch([2]))
    ([[1, 0, 0, 1, 2], [0, 1, 0, 1, 2]], 1)
    """

    modality: ClassVar[str] = "graph"

    def __init__(
        self,
        name: str,
        x: Matrix,
        edges: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        class_names: list[str] | None = None,
        train: np.ndarray | None = None,
        val: np.ndarray | None = None,
        test: np.ndarray | None = None,
        fanouts: Sequence[int] | None = None,
        undirected: bool = True,
        seed: int = 0,
    ) -> None:
        self.x = as_matrix(x, name)
        nodes = self.x.shape[0]
        edges = check_edge_list(edges, nodes, name)
        self.edges = tidy_edges(edges, nodes, undirected=undirected)
        self.splits = {
            side: _positions(given, nodes, f"{name}: {side}")
            for side, given in (("train", train), ("val", val), ("test", test))
        }
        fingerprint = content_hash(self.x, self.edges, labels)
        super().__init__(
            name, nodes, fingerprint=fingerprint, labels=labels, class_names=class_names
        )
        if fanouts is None and nodes >= LARGE:
            fanouts = FANOUTS
        self.fanouts = None if fanouts is None else tuple(fanouts)
        self.seed = seed
        self._sampler = None if fanouts is None else NeighbourSampler(self.edges, nodes, fanouts)
        self._whole: tuple[Tensor, Tensor] | None = None
        self.chunk = nodes if fanouts is None else 1024

    def __repr__(self) -> str:
        nodes, width = self.x.shape
        return f"GraphSource({self.name!r}, {nodes} nodes, {self.edges.shape[1]} edges, {width}-d)"

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.x.shape[1])

    @property
    def nodes(self) -> np.ndarray:
        """Node number of every sample."""
        return self._rows

    @property
    def train_rows(self) -> np.ndarray | None:
        """Samples of the public training split, or None."""
        return self._side("train")

    @property
    def val_rows(self) -> np.ndarray | None:
        """Samples of the public validation split, or None."""
        return self._side("val")

    @property
    def test_rows(self) -> np.ndarray | None:
        """Samples of the public test split, or None."""
        return self._side("test")

    def _side(self, side: str) -> np.ndarray | None:
        given = self.splits[side]
        if given is None or len(self._rows) == self.x.shape[0] == len(np.unique(self._rows)):
            return given if given is None else _locate(self._rows, given)
        return np.flatnonzero(np.isin(self._rows, given))

    def split(self, split: Split, *, test_share: float = 0.2) -> Self:
        """The public split where there is one; else the deterministic partition of `Source`."""
        rows = None if split == "all" else self._side(split)
        return super().split(split, test_share=test_share) if rows is None else self.subset(rows)

    def induced(self, rows: np.ndarray | None = None) -> GraphSource:
        """The graph of the samples at `rows` alone (the training split by default).

        For the inductive setting: nodes outside are not there, and neither are their edges.

        >>> three = np.array([[0, 1], [1, 2]])
        >>> source = GraphSource("toy", np.eye(3, dtype=np.float32), three)
        >>> source.induced(np.array([0, 1])).edges.tolist()
        [[1, 0], [0, 1]]
        """
        rows = self.train_rows if rows is None else np.asarray(rows)
        if rows is None:
            raise DataError(f"{self.name} has no training split; say which rows.")
        nodes = self._rows[rows]
        position = np.full(self.x.shape[0], -1)
        position[nodes] = np.arange(len(nodes))
        edges = position[self.edges]
        return GraphSource(
            self.name,
            self.x[nodes],
            edges[:, (edges >= 0).all(0)],
            None if self.labels is None else self.labels[rows],
            class_names=self.class_names,
            fanouts=self.fanouts,
            undirected=False,
            seed=self.seed,
        )

    def whole(self) -> tuple[Tensor, Tensor]:
        """Features and edges (with self-loops) of the whole graph, shared between batches."""
        if self._whole is None:
            self._whole = as_tensor(self.x), with_loops(self.edges, self.x.shape[0])
        return self._whole

    def _read(self, rows: np.ndarray) -> GraphBatch:
        nodes = self.x.shape[0]
        if self._sampler is None:
            x, edge_index = self.whole()
            everything = len(rows) == nodes and np.array_equal(rows, np.arange(nodes))
            return GraphBatch(x, edge_index, seeds=None if everything else torch.from_numpy(rows))
        digest = hashlib.blake2b(rows.tobytes(), digest_size=8)
        seed = int.from_bytes(digest.digest(), "little") ^ self.seed
        chosen, edges = self._sampler(rows, seed)
        seeds = torch.from_numpy(_locate(chosen, rows))
        return GraphBatch(as_tensor(self.x[chosen]), with_loops(edges, len(chosen)), seeds=seeds)


def _positions(given: np.ndarray | None, nodes: int, name: str) -> np.ndarray | None:
    """A mask or positions -> sorted positions (int64)."""
    if given is None:
        return None
    given = np.asarray(given)
    if given.dtype == bool:
        if given.shape != (nodes,):
            raise DataError(f"{name} mask has shape {given.shape}, not ({nodes},).")
        given = np.flatnonzero(given)
    rows = given.astype(np.int64)
    if not len(rows):
        raise DataError(f"{name} split is empty: every node is masked out.")
    if rows.min() < 0 or rows.max() >= nodes:
        raise DataError(f"{name} split names node {rows.max()}, the last is {nodes - 1}.")
    return np.unique(rows)


def _locate(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position in `nodes` (distinct) of every wanted node."""
    order = np.argsort(nodes, kind="stable")
    return order[np.searchsorted(nodes[order], wanted)]
