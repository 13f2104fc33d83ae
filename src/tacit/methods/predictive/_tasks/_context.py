"""Predict which classes surround a node, from labels that a cheap classifier guessed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError, did_you_mean

from ._base import PretextTask
from ._graph import adjacency, without_loops
from ._pseudo import iterative_classification, label_propagation, propagated_labels

Classifier = Literal["ica", "lp", "ensemble"]
CLASSIFIERS = ("ica", "lp", "ensemble")


def neighbourhood(matrix: sparse.csr_matrix, hops: int) -> sparse.csr_matrix:
    """A + A^2 + ... + A^hops, each 0/1 with a zero diagonal.

    >>> triangle = sparse.csr_matrix(np.ones((3, 3)) - np.eye(3))
    >>> neighbourhood(triangle, 2).toarray()[0].tolist()
    [0.0, 2.0, 2.0]
    """
    step = without_loops(matrix)
    power = total = step
    for _ in range(hops - 1):
        power = without_loops(power @ step)
        power.data[:] = 1.0
        total = total + power
    return total


def context_distribution(
    edge_index: Tensor, pred: Tensor, hops: int = 2, *, num_classes: int | None = None
) -> Tensor:
    """Share of every class among the nodes within `hops` hops, the node itself left out.

    q_i = normalised histogram of pred over the neighbours in A and A^2 (0/1, zero diagonal); a node
    in both counts twice. A node without neighbours has the uniform distribution (0/0 in the
    official code).

    Parameters
    ----------
    edge_index : (2, E); edges count in both directions, once.
    pred : (N,) int64 label of every node.
    hops : powers of A.
    num_classes : C; by default the largest label + 1.

    Returns
    -------
    (N, C) float64, rows sum to 1.

    Raises
    ------
    DataError : labels that are not integers from 0. ConfigError : hops below 1.

    References
    ----------
    Jin et al., 2020, section 4.2 (ContextLabel).

    >>> path = torch.tensor([[0, 1, 2], [1, 2, 3]])
    >>> context_distribution(path, torch.tensor([0, 0, 0, 1])).tolist()[2:]
    [[0.6666666666666666, 0.3333333333333333], [1.0, 0.0]]
    """
    if hops < 1:
        raise ConfigError(f"hops must be at least 1, not {hops}.")
    labels = np.asarray(pred.cpu() if isinstance(pred, Tensor) else pred)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise DataError(
            f"pred must be (N,) integers from 0, not {labels.dtype} of shape {labels.shape}."
        )
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    around = neighbourhood(adjacency(edge_index, len(labels)), hops)
    return torch.from_numpy(histogram(around, labels, count))


def histogram(around: sparse.csr_matrix, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(n, C) distribution of `labels` (N,) by the rows of `around` (n, N); uniform if empty."""
    counts = around @ np.eye(num_classes)[labels]
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / num_classes)


class ContextLabel(PretextTask):
    """Predict the classes around a node: ContextLabel, with "ensemble" EnsembleLabel.

    Pseudo-labels of the unlabelled nodes come from iterative classification ("ica"), label
    propagation ("lp"), or the argmax of the sum of both scores ("ensemble"); training nodes keep
    their labels. q = `context_distribution`;
    L = mean over unlabelled nodes and classes of (softmax(Linear(dropout(h))) - q)^2, with h
    before the network's dropout and a dropout of its own.

    Parameters
    ----------
    source : "ica", "lp" or "ensemble".
    binarize : features to 0 and 1 for "ica" (published: CiteSeer and PubMed).
    hops : radius of the neighbourhood; 1 for graphs with large hubs.
    dropout : rate of the dropout in front of the head.

    Raises
    ------
    ConfigError : unknown source, hops below 1, dropout outside [0, 1).

    References
    ----------
    Jin et al., 2020, section 4.2 (ContextLabel, EnsembleLabel).
    """

    after_dropout: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = True

    pred: Tensor
    targets: Tensor

    def __init__(
        self,
        source: Classifier = "ica",
        *,
        binarize: bool = False,
        hops: int = 2,
        dropout: float = 0.5,
    ) -> None:
        if source not in CLASSIFIERS:
            raise ConfigError(
                f"source must be one of {', '.join(CLASSIFIERS)}, not '{source}'."
                f"{did_you_mean(str(source), CLASSIFIERS)}"
            )
        if hops < 1 or not 0 <= dropout < 1:
            raise ConfigError(
                f"hops must be at least 1 and dropout in [0, 1), not {hops} and {dropout}."
            )
        self.source, self.binarize, self.hops, self.dropout = source, binarize, hops, dropout

    def _label_targets(self, train: np.ndarray, labels: np.ndarray) -> None:
        known = np.full(self.x.shape[0], -1)
        known[train] = labels
        self.outputs = int(labels.max()) + 1
        self.pred = self._pseudo_labels(known, train)
        self._around = neighbourhood(self.matrix, self.hops)
        self.targets = torch.from_numpy(histogram(self._around, self.pred.numpy(), self.outputs))

    def _pseudo_labels(self, known: np.ndarray, train: np.ndarray) -> Tensor:
        if self.source != "ica":
            scores = label_propagation(self.edge_index, known, train)
            if self.source == "lp":
                return propagated_labels(scores, known, train)
        labels, proba = iterative_classification(
            self.x, self.edge_index, known, train, binarize=self.binarize
        )
        return labels if self.source == "ica" else (scores + proba).argmax(1)

    def predict(self, h: Tensor, head: nn.Module) -> Tensor:
        """(N, C) distribution that the head predicts, with the task's own dropout."""
        if self.dropout:
            keep = torch.rand(h.shape, generator=self.generator).to(h.device) >= self.dropout
            h = h * keep / (1 - self.dropout)
        return F.softmax(head(h), dim=1)

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        return self._error(self.predict(h, head), self.unlabelled, self.targets[self.unlabelled])

    @staticmethod
    def _error(predicted: Tensor, nodes: Tensor, targets: Any) -> Tensor:
        return F.mse_loss(predicted[nodes.to(predicted.device)], targets.to(predicted))
