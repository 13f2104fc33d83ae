"""The contract of a pretext task on a graph: targets from the graph, a head, a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError

from ._graph import adjacency, graph_tensors


class PretextTask(ABC):
    """Something to predict of every node (or pair of nodes) that the graph itself knows.

    `prepare` computes the targets once, `train_view` says what the network reads in training
    (changed where something is masked), `loss` compares `head`'s output on hidden vectors with the
    targets. All draws come from the one generator given to `prepare`.

    Attributes
    ----------
    after_dropout : the loss wants the hidden vectors after the network's dropout.
    uses_labels : targets need the labels of the training nodes.
    outputs : width of the head.
    x, edge_index : the unchanged graph.
    matrix : symmetric adjacency matrix (N, N), scipy CSR.
    unlabelled : (n,) nodes outside `train_idx`; all nodes without it.

    >>> from tacit.graphs import NodeProperty
    >>> star = torch.eye(4), torch.tensor([[0, 0, 0], [1, 2, 3]])
    >>> task = NodeProperty().prepare(star)
    >>> task.targets.tolist()
    [1, 0, 0, 0]
    >>> task.loss(torch.zeros(4, 8), task.head(8)).shape
    torch.Size([])
    """

    after_dropout: ClassVar[bool] = True
    uses_labels: ClassVar[bool] = False

    outputs: int
    x: Tensor
    edge_index: Tensor
    matrix: sparse.csr_matrix
    unlabelled: Tensor
    generator: torch.Generator

    def prepare(
        self,
        graph: Any,
        train_idx: Any = None,
        y: Any = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Compute the targets; returns the task.

        Parameters
        ----------
        graph : object with x (N, F) and edge_index (2, E), or that pair. Edges count in both
            directions, once.
        train_idx : positions or mask of the nodes whose labels may be used.
        y : (N,) int64 labels; only those at `train_idx` are read.
        generator : of all draws, now and in `loss`; a new one with seed 0 by default.

        Raises
        ------
        DataError : the graph or the labels cannot be used.
        ConfigError : the task uses labels and there are none.
        """
        self.x, self.edge_index = graph_tensors(graph)
        num_nodes = self.x.shape[0]
        self.matrix = adjacency(self.edge_index, num_nodes)
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        if self.uses_labels and (train_idx is None or y is None):
            raise ConfigError(
                f"{type(self).__name__} makes its targets from the labels of the training nodes: "
                "give train_idx and y."
            )
        train = node_positions(train_idx, num_nodes)
        unlabelled = np.setdiff1d(np.arange(num_nodes), train)
        self.unlabelled = torch.from_numpy(unlabelled)
        if not len(unlabelled):
            raise DataError("Every node is in train_idx: there is no unlabelled node to predict.")
        if self.uses_labels:
            self._label_targets(train, train_labels(y, train, num_nodes))
        else:
            self._targets()
        return self

    def _targets(self) -> None:
        """Targets of a task without labels."""
        raise NotImplementedError

    def _label_targets(self, train: np.ndarray, labels: np.ndarray) -> None:
        """Targets of a task that uses labels: those of the nodes `train`, in their order."""
        raise NotImplementedError

    def train_view(self) -> tuple[Tensor, Tensor]:
        """(x, edge_index) that the network reads in training."""
        return self.eval_view()

    def eval_view(self) -> tuple[Tensor, Tensor]:
        """(x, edge_index) that the network reads otherwise: nothing masked."""
        return self.x, self.edge_index

    def head(self, d: int) -> nn.Module:
        """A new linear map from hidden vectors of width `d` to `outputs`."""
        return nn.Linear(d, self.outputs)

    @abstractmethod
    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        """The scalar loss of the hidden vectors (N, d) of all nodes."""


def pair_logits(h: Tensor, pairs: Tensor, head: nn.Module) -> Tensor:
    """head(|h_i - h_j|) of pairs (2, P): the same for (i, j) and (j, i).

    >>> h, head = torch.randn(3, 4), nn.Linear(4, 2)
    >>> torch.equal(pair_logits(h, torch.tensor([[1], [1]]), head)[0], head.bias)
    True
    """
    pairs = pairs.to(h.device)
    return head((h[pairs[0]] - h[pairs[1]]).abs())  # type: ignore[no-any-return]


def node_positions(train_idx: Any, num_nodes: int) -> np.ndarray:
    """Positions or a boolean mask -> sorted distinct positions; none for None.

    Raises
    ------
    DataError : an empty choice, or a node that does not exist.
    """
    if train_idx is None:
        return np.empty(0, np.int64)
    given = np.asarray(train_idx.cpu() if isinstance(train_idx, Tensor) else train_idx)
    if given.dtype == bool:
        if given.shape != (num_nodes,):
            raise DataError(f"train_idx is a mask {given.shape}, but there are {num_nodes} nodes.")
        given = np.flatnonzero(given)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise DataError(
            f"train_idx must be a list of node numbers (or a mask) with one node at least, "
            f"not {given.dtype} of shape {given.shape}."
        )
    if given.min() < 0 or given.max() >= num_nodes:
        raise DataError(
            f"train_idx names nodes {given.min()}..{given.max()}, but the nodes are "
            f"0..{num_nodes - 1}."
        )
    return np.unique(given).astype(np.int64)


def train_labels(y: Any, train: np.ndarray, num_nodes: int) -> np.ndarray:
    """The labels of the nodes `train`, in their order; no other label is read.

    Raises
    ------
    DataError : labels of another length, not integers, or missing (negative) at a training node.
    """
    labels = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
    if labels.shape != (num_nodes,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"y must be ({num_nodes},) integers, one a node, not {labels.dtype} of "
            f"shape {labels.shape}."
        )
    known = labels[train].astype(np.int64)
    if (known < 0).any():
        node = int(train[known < 0][0])
        raise DataError(f"Training node {node} has no label (y = {int(labels[node])}).")
    return known
