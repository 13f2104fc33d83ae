"""A set of graphs: every sample is a graph, a batch is a disjoint union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from tacit.data.base import Source
from tacit.data.graph_batch import (
    GraphBatch,
    Matrix,
    as_matrix,
    as_tensor,
    content_hash,
    with_loops,
)
from tacit.data.graph_edges import check_edge_list, tidy_edges
from tacit.errors import DataError


class GraphSetSource(Source):
    """A set of graphs; a batch is their disjoint union.

    All graphs are kept end to end: `x` of all nodes, `edges` by global node number.

    Parameters
    ----------
    name : what messages call it.
    x : (N, F) features of all nodes, graph after graph.
    edges : (2, E) by node number in `x`.
    sizes : (G,) nodes of every graph.
    labels : (G,) int64 or None.
    targets : (G, tasks) float32, NaN where unknown: several tasks, as molecules have.
    edge_attr : (E, ...) attributes of the edges, which are then kept exactly as they are.
    self_loops : tidy the edges as `GraphSource` does and add one self-loop a node.

    Raises
    ------
    DataError : an empty graph, edges between graphs, sizes that do not add up.

    >>> two = GraphSetSource("toy", np.eye(3, dtype=np.float32), np.array([[0], [1]]), [2, 1])
    >>> batch = two.batch([1, 0])
    >>> batch.batch.tolist(), batch.edge_index.tolist()
    ([0, 1, 1], [[2, 1, 0, 1, 2], [1, 2, 0, 1, 2]])
    """

    modality: ClassVar[str] = "graph"

    def __init__(
        self,
        name: str,
        x: Matrix,
        edges: np.ndarray,
        sizes: Sequence[int] | np.ndarray,
        labels: np.ndarray | None = None,
        *,
        class_names: list[str] | None = None,
        targets: np.ndarray | None = None,
        edge_attr: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        self_loops: bool = True,
    ) -> None:
        self.x = as_matrix(x, name, categories=edge_attr is not None)
        self.sizes = np.asarray(sizes)
        if self.sizes.ndim != 1 or self.sizes.dtype.kind not in "iu" or not len(self.sizes):
            raise DataError(
                f"{name}: sizes must be integers (graphs,), not {self.sizes.dtype} of shape "
                f"{self.sizes.shape}."
            )
        self.sizes = self.sizes.astype(np.int64)
        if (self.sizes < 1).any():
            empty = int(np.flatnonzero(self.sizes < 1)[0])
            raise DataError(f"{name}: graph {empty} has no nodes. Remove it.")
        if self.sizes.sum() != self.x.shape[0]:
            raise DataError(
                f"{name}: the graphs have {self.sizes.sum()} nodes, the features {self.x.shape[0]}."
            )
        edges = check_edge_list(edges, self.x.shape[0], name)
        if edge_attr is None and self_loops:
            edges = tidy_edges(edges, self.x.shape[0])
        owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        crossing = owner[edges[0]] != owner[edges[1]]
        if crossing.any():
            position = int(np.flatnonzero(crossing)[0])
            raise DataError(
                f"{name}: the edge {tuple(edges[:, position].tolist())} joins two graphs."
            )
        order = np.argsort(owner[edges[0]], kind="stable")
        self.edges = edges[:, order]
        self.edge_attr = None if edge_attr is None else np.asarray(edge_attr)[order]
        self.targets, self.self_loops = targets, self_loops and edge_attr is None
        self._node_start = np.concatenate([[0], np.cumsum(self.sizes)])
        counts = np.bincount(owner[self.edges[0]], minlength=len(self.sizes))
        self._edge_start = np.concatenate([[0], np.cumsum(counts)])
        super().__init__(
            name,
            len(self.sizes),
            fingerprint=content_hash(self.x, self.sizes, self.edges, labels),
            labels=labels,
            class_names=class_names,
            groups=groups,
        )

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.x.shape[1])

    def _read(self, rows: np.ndarray) -> GraphBatch:
        nodes, sizes = _ranges(self._node_start, rows)
        picked, counts = _ranges(self._edge_start, rows)
        shift = np.cumsum(sizes) - sizes - self._node_start[rows]
        edges = self.edges[:, picked] + np.repeat(shift, counts)
        attr = None if self.edge_attr is None else torch.from_numpy(self.edge_attr[picked])
        return GraphBatch(
            as_tensor(self.x[nodes]),
            with_loops(edges, len(nodes)) if self.self_loops else torch.from_numpy(edges),
            batch=torch.from_numpy(np.repeat(np.arange(len(rows)), sizes)),
            edge_attr=attr,
            num_graphs=len(rows),
        )


def _ranges(start: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated ranges start[r]..start[r + 1] of every row, and their lengths."""
    lengths = start[rows + 1] - start[rows]
    offset = np.repeat(start[rows] - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(len(offset)) + offset, lengths
