"""Probes of graph representations as they are published: Adam on one layer, and an SVM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from .inputs import Labels, OtherLabels, OtherRows, Rows, check_finite


class NodeProbe(NamedTuple):
    """Test scores of a linear probe, shares in [0, 1].

    last : after the last epoch.
    best : at the epoch of the best validation score, the later of equals.
    epoch : that epoch, from 0.
    validation : the best validation score.
    """

    last: float
    best: float
    epoch: int
    validation: float


def linear_probe(
    z: Float[Tensor, "nodes dim"],
    y: Num[Tensor, nodes * tasks],
    masks: Sequence[Tensor | np.ndarray],
    lr: float = 0.01,
    wd: float = 1e-4,
    epochs: int = 300,
    *,
    seed: int = 0,
) -> NodeProbe:
    """One linear layer on frozen node vectors, trained by Adam on the training nodes at once.

    The protocol of GraphMAE and its predecessors; features are not standardised. Accuracy for
    integer labels; for several binary tasks (y a matrix of 0 and 1) binary cross-entropy and the
    micro-averaged F1 at threshold 0.

    Parameters
    ----------
    z : vectors of all nodes.
    y : (nodes,) class numbers, -1 = none, or (nodes, tasks).
    masks : training, validation and test nodes, boolean or positions.
    lr, wd, epochs : of Adam (L2 inside).
    seed : of the initial weights.

    Raises
    ------
    ValueError : an empty mask, or masked-in nodes without label.

    References
    ----------
    Hou et al., GraphMAE, 2022, section 4.1 and official code.

    >>> y = torch.arange(12) % 3
    >>> rows = torch.arange(12)
    >>> linear_probe(torch.eye(3)[y], y, (rows, rows, rows), lr=0.1).last
    1.0
    """
    check_finite(z, "z")
    z, y = torch.as_tensor(z).detach(), torch.as_tensor(y)
    train, val, test = (
        _positions(mask, len(z), name)
        for mask, name in zip(masks, ("training", "validation", "test"))
    )
    several = y.ndim == 2
    if not several and int(y[torch.cat([train, val, test])].min()) < 0:
        raise ValueError("a node of the masks has the label -1 (none): leave it out of the masks")
    classes = y.shape[1] if several else int(y.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(z.shape[1], classes).to(z)
    optimizer = torch.optim.Adam(layer.parameters(), lr=lr, weight_decay=wd)
    z_train, y_train = z[train], y[train]
    held, truth, cut = z[torch.cat([val, test])], y[torch.cat([val, test])], len(val)
    best, last = NodeProbe(0.0, 0.0, 0, -1.0), 0.0
    for epoch in range(epochs):
        with torch.enable_grad():
            out = layer(z_train)
            if several:
                loss = F.binary_cross_entropy_with_logits(out, y_train.to(out))
            else:
                loss = F.cross_entropy(out, y_train)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            out = layer(held)
        score = _micro_f1 if several else _accuracy
        validation, last = score(out[:cut], truth[:cut]), score(out[cut:], truth[cut:])
        if validation >= best.validation:
            best = NodeProbe(last, last, epoch, validation)
    return best._replace(last=last)


def svm_probe(
    z: Float[np.ndarray, "graphs dim"] | Float[Tensor, "graphs dim"],
    y: Num[np.ndarray, " graphs"] | Num[Tensor, " graphs"],
    folds: int = 10,
    *,
    inner_folds: int = 5,
) -> tuple[float, float]:
    """Accuracy of an RBF support vector machine over stratified folds.

    scikit-learn's SVC (random_state 42), C from 1e-3, 1e-2, 0.1, 1, 10 by a grid search inside
    every training fold; folds shuffled with seed 0; no scaling of the features.

    Parameters
    ----------
    z, y : vectors and labels of the graphs.
    folds, inner_folds : of the outer cross-validation and of the grid search.

    Returns
    -------
    (mean, standard deviation) over the folds, shares in [0, 1].

    Raises
    ------
    ValueError : a class with fewer graphs than folds.

    References
    ----------
    Hou et al., GraphMAE, 2022, section 4.2 and official code.

    >>> y = np.arange(40) % 2
    >>> svm_probe(np.eye(2)[y], y, folds=4)
    (1.0, 0.0)
    """
    from sklearn.model_selection import StratifiedKFold

    check_finite(z, "z")
    x, labels = np.asarray(z), np.asarray(y)
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if rarest < folds:
        raise ValueError(
            f"the rarest class has {rarest} graphs, fewer than {folds} folds; use folds={rarest}"
        )
    scores = [
        svm_accuracy(x[train], labels[train], x[test], labels[test], inner_folds=inner_folds)
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(x, labels)
    ]
    return float(np.mean(scores)), float(np.std(scores))


def svm_accuracy(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows,
    test_y: OtherLabels,
    *,
    inner_folds: int = 5,
) -> float:
    """Test accuracy of the SVM of `svm_probe`, fitted once on the training rows.

    A class with fewer rows than `inner_folds` lowers the number of inner folds, to 2 at least.

    Raises
    ------
    ValueError : a class with one row only.

    >>> y = np.arange(20) % 2
    >>> svm_accuracy(np.eye(2)[y], y, np.eye(2), np.arange(2))
    1.0
    """
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    rarest = int(np.unique(np.asarray(train_y), return_counts=True)[1].min())
    if rarest < 2:
        raise ValueError("a class has one training row: the SVM's inner folds need two")
    grid = {"C": [1e-3, 1e-2, 1e-1, 1, 10]}
    search = GridSearchCV(SVC(random_state=42), grid, cv=min(inner_folds, rarest))
    search.fit(np.asarray(train_x), np.asarray(train_y))
    return float((search.predict(np.asarray(test_x)) == np.asarray(test_y)).mean())


def _positions(mask: Tensor | np.ndarray, n: int, name: str) -> Tensor:
    rows = torch.as_tensor(mask)
    if rows.dtype == torch.bool:
        if len(rows) != n:
            raise ValueError(f"the {name} mask has {len(rows)} entries for {n} nodes")
        rows = rows.nonzero()[:, 0]
    if not len(rows):
        raise ValueError(f"the {name} mask is empty: every node is masked out")
    return rows.long()


def _accuracy(out: Tensor, y: Tensor) -> float:
    return float((out.argmax(1) == y).double().mean())


def _micro_f1(out: Tensor, y: Tensor) -> float:
    predicted, truth = out > 0, y > 0
    hits = float((predicted & truth).sum())
    total = float(predicted.sum() + truth.sum())
    return 2 * hits / total if total else 0.0
