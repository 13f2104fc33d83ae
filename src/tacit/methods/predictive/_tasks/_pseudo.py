"""Cheap classifiers of the unlabelled nodes: label propagation and iterative classification.

Both see the labels of the training nodes only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from tacit.errors import ConfigError, DataError

from ._base import node_positions, train_labels
from ._graph import adjacency, scipy_features


def label_propagation(
    edge_index: Tensor, y: Any, train_idx: Any, iters: int = 30, *, num_classes: int | None = None
) -> Tensor:
    """Harmonic function: scores of every class at every node.

    F <- P F + B from F = 0, with P = D^-1 A but zero rows for labelled nodes, and B their one-hot
    rows. A row sums to at most 1 and grows with the iterations; a node that no label reaches has 0.

    Parameters
    ----------
    edge_index : (2, E); edges count in both directions, once.
    y : (N,) labels, of which only those at `train_idx` are read.
    train_idx : positions or mask of labelled nodes.
    iters : iterations.
    num_classes : C; by default the largest training label + 1.

    Returns
    -------
    (N, C) float64.

    Raises
    ------
    DataError, ConfigError : see `PretextTask.prepare`; iters below 1.

    References
    ----------
    Zhu, Ghahramani, Lafferty, 2003; Jin et al., 2020, section 4.2.

    >>> path, y = torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([0, -1, -1, 1])
    >>> label_propagation(path, y, [0, 3]).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    if iters < 1:
        raise ConfigError(f"iters must be at least 1, not {iters}.")
    n = len(y)
    train = node_positions(train_idx, n)
    base = _one_hot_rows(n, train, train_labels(y, train, n), num_classes)
    matrix = adjacency(edge_index, n)
    degree = np.asarray(matrix.sum(1)).ravel()
    scale = np.divide(1.0, degree, out=np.zeros(n), where=degree > 0)
    scale[train] = 0
    step = sparse.diags(scale) @ matrix
    scores = np.zeros_like(base)
    for _ in range(iters):
        scores = step @ scores + base
    return torch.from_numpy(scores)


def propagated_labels(scores: Tensor, y: Any, train_idx: Any) -> Tensor:
    """(N,) the class of largest score; of equal ones the class that is labelled first.

    So a node that no label reaches gets the class of the first labelled node, as in the official
    code.

    >>> propagated_labels(torch.zeros(3, 2), torch.tensor([1, 0, -1]), [0, 1]).tolist()
    [1, 1, 1]
    """
    train = node_positions(train_idx, len(scores))
    labels = train_labels(y, train, len(scores))
    classes, first = np.unique(labels, return_index=True)
    order = torch.from_numpy(classes[np.argsort(first)])
    return order[scores[:, order].argmax(1)]


def iterative_classification(
    x: Tensor,
    edge_index: Tensor,
    y: Any,
    train_idx: Any,
    iters: int = 10,
    *,
    binarize: bool = False,
    num_classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Logistic regression on features and on the labels of neighbours, iterated.

    A local classifier on x labels all nodes; a relational one on [x, neighbours of each class] is
    fitted to the training nodes among those labels. Then `iters` sweeps in node order, each
    unlabelled node labelled at once from the current labels of its neighbours.

    Nodes that do not touch each other are labelled together, which gives exactly the labels of the
    sweep one by one. Probabilities are returned in node order; the official code puts training
    nodes first, which is right only where they are the first nodes.

    Parameters
    ----------
    x : (N, F) dense or sparse features.
    edge_index, y, train_idx, num_classes : as in `label_propagation`.
    iters : sweeps.
    binarize : features to 0 and 1 first (published: CiteSeer and PubMed).

    Returns
    -------
    labels : (N,) int64, the true ones at training nodes.
    probabilities : (N, C) float64 of the last sweep, one-hot at training nodes.

    Raises
    ------
    DataError : fewer than two classes among the training labels.
    ConfigError : iters below 1.

    References
    ----------
    Neville, Jensen, 2000; Sen et al., Collective Classification in Network Data, 2008, algorithm 1;
    Jin et al., 2020, section 4.2.

    >>> x = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> path, y = torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([0, -1, -1, 1])
    >>> labels, probabilities = iterative_classification(x, path, y, [0, 3])
    >>> labels.tolist(), probabilities.shape
    ([0, 0, 1, 1], torch.Size([4, 2]))
    """
    from sklearn.linear_model import LogisticRegression

    if iters < 1:
        raise ConfigError(f"iters must be at least 1, not {iters}.")
    n = x.shape[0]
    train = node_positions(train_idx, n)
    truth = train_labels(y, train, n)
    proba = _one_hot_rows(n, train, truth, num_classes)
    classes = np.unique(truth)
    if len(classes) < 2:
        raise DataError("The training nodes have one class only: there is nothing to classify.")
    features = scipy_features(x)
    if binarize:
        features = (features != 0).astype(np.float64)
    matrix = adjacency(edge_index, n)
    rest = np.setdiff1d(np.arange(n), train)

    local = LogisticRegression().fit(features[train], truth)
    labels = local.predict(features).astype(np.int64)
    labels[train] = truth
    eye = np.eye(proba.shape[1])
    counts = matrix[train] @ eye[labels]
    relational = LogisticRegression().fit(sparse.hstack([features[train], counts]).tocsr(), truth)

    weight, bias = _full_weights(relational)
    fixed = features @ weight[:, : x.shape[1]].T + bias
    batches = sweep_batches(matrix, rest)
    rows = [matrix[batch] for batch in batches]
    for _ in range(iters):
        for batch, near in zip(batches, rows):
            logits = fixed[batch] + (near @ eye[labels]) @ weight[:, x.shape[1] :].T
            labels[batch] = classes[logits.argmax(1)]
            proba[batch[:, None], classes] = _softmax(logits)
    return torch.from_numpy(labels), torch.from_numpy(proba)


def sweep_batches(matrix: sparse.csr_matrix, nodes: np.ndarray) -> list[np.ndarray]:
    """`nodes` (sorted) in batches whose updates, in this order, equal those one by one.

    A node comes after all its neighbours with a smaller number: its batch is the length of the
    longest chain of increasing neighbours that ends at it.

    >>> path = sparse.csr_matrix(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> [batch.tolist() for batch in sweep_batches(path, np.array([0, 2, 3]))]
    [[0, 2], [3]]
    """
    among = sparse.tril(matrix[nodes][:, nodes], k=-1).tocsr()
    lengths = np.diff(among.indptr)
    has = np.flatnonzero(lengths)
    level = np.zeros(len(nodes), np.int64)
    while True:
        raised = level.copy()
        if len(has):
            raised[has] = np.maximum.reduceat(level[among.indices], among.indptr[has]) + 1
        if np.array_equal(raised, level):
            break
        level = raised
    order = np.argsort(level, kind="stable")
    return [nodes[part] for part in np.split(order, np.cumsum(np.bincount(level))[:-1])]


def _one_hot_rows(
    n: int, train: np.ndarray, labels: np.ndarray, num_classes: int | None
) -> np.ndarray:
    found = int(labels.max()) + 1
    if num_classes is not None and num_classes < found:
        raise ConfigError(f"There are {found} classes in the training labels, not {num_classes}.")
    rows = np.zeros((n, num_classes or found))
    rows[train, labels] = 1
    return rows


def _full_weights(classifier: Any) -> tuple[np.ndarray, np.ndarray]:
    """One row of weights a class; scikit-learn keeps one row for two classes."""
    weight, bias = classifier.coef_, classifier.intercept_
    if len(weight) > 1:
        return weight, bias
    return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])


def _softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)
