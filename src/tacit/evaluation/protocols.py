"""The usual labelled protocols on frozen features in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tacit.errors import did_you_mean

from .features import CACHE_BYTES
from .few_shot import few_shot_probe
from .graph_probes import svm_accuracy
from .inputs import Labels, OtherLabels, OtherRows, Rows, check_labels, check_matrix
from .knn import knn_accuracy
from .linear import linear_probe
from .retrieval import retrieval_metrics

USUAL = ("knn", "linear", "few-shot", "retrieval")
STAGING = "staging"  # reads whole recordings: see `staging_probe`
PROTOCOLS = (*USUAL, "svm", STAGING)


def check_protocols(names: Sequence[str]) -> None:
    """Raise a ValueError, with a suggestion, unless every name is one of `PROTOCOLS`."""
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(
                f"unknown protocol {name!r}.{did_you_mean(name, PROTOCOLS)} "
                f"Known: {', '.join(PROTOCOLS)}."
            )


def _on_gpu(*matrices: Tensor | np.ndarray) -> tuple[Tensor | np.ndarray, ...]:
    """All of them on the GPU, where there is one with room; else as they are."""
    if not torch.cuda.is_available():
        return matrices
    needed = sum(x.nbytes for x in matrices) + 2 * CACHE_BYTES
    if needed > torch.cuda.mem_get_info()[0]:
        return matrices
    # A copy of an array: a memory map may not be written to, which torch wants.
    return tuple((x if isinstance(x, Tensor) else torch.tensor(x)).cuda() for x in matrices)


def evaluate_embeddings(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows,
    test_y: OtherLabels,
    protocols: Sequence[str] = USUAL,
    *,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Labelled protocols with their usual settings, fitted to the size of the data.

    "knn": weighted kNN, k = 20 (at most n), T = 0.07. "linear": L-BFGS logistic regression with C
    from {0.01, 0.1, 1} by a held-out split; "top5" with more than five classes. "few-shot": 5
    labels a class (or as many as the rarest class has), 5 draws. "retrieval": the test rows search
    the training rows. "svm": RBF support vector machine, C by 5 folds of the training rows, as
    published for graphs.

    Parameters
    ----------
    train_x, train_y, test_x, test_y : features (n, d) and (m, d), and integer labels >= 0.
    protocols : which of `PROTOCOLS` but "staging", in which order; all but the SVM, which is slow,
        by default.
    seed : of the splits and draws.

    Returns
    -------
    dict of protocol to its numbers by name; shares in [0, 1]. Computed on the GPU where there is
    one with room for both matrices.

    >>> import torch
    >>> x, y = torch.eye(3).repeat(20, 1), torch.arange(60) % 3
    >>> evaluate_embeddings(x, y, x, y, ["knn"])
    {'knn': {'accuracy': 1.0, 'k': 20.0}}
    """
    chosen = [protocols] if isinstance(protocols, str) else list(protocols)
    check_protocols(chosen)
    if STAGING in chosen:
        raise ValueError(
            "staging reads the epochs of recordings in their order, not single rows: use "
            "staging_probe, or `tacit evaluate --probe staging`."
        )
    for matrix, name in ((train_x, "train_x"), (test_x, "test_x")):
        check_matrix(matrix, name)
    n = train_x.shape[0]
    labels = check_labels(train_y, n, "train_y")
    classes = labels.unique()
    if len(classes) < 2:
        raise ValueError(
            f"train_y holds one class only ({int(labels[0])}): there is nothing to tell apart. "
            "The protocols need samples of at least two classes."
        )
    results: dict[str, dict[str, float]] = {}
    given = train_x, test_x
    train_x, test_x = _on_gpu(*given)
    for name in chosen:
        if name == "knn":
            k = min(20, n)
            accuracy = knn_accuracy(train_x, train_y, test_x, test_y, k=k)
            results[name] = {"accuracy": accuracy, "k": float(k)}
        elif name == "linear":
            probe = linear_probe(train_x, train_y, test_x, test_y, C=[0.01, 0.1, 1.0], seed=seed)
            # With five classes or fewer the right one is always among the five best.
            top5 = {"top5": probe.top5} if len(classes) > 5 else {}
            results[name] = {
                "accuracy": probe.accuracy,
                **top5,
                "balanced_accuracy": probe.balanced_accuracy,
                "C": probe.C,
            }
        elif name == "few-shot":
            shots = min(5, int(labels.unique(return_counts=True)[1].min()))
            few = few_shot_probe(train_x, train_y, test_x, test_y, shots=shots, seed=seed)
            results[name] = {"mean": few.mean, "std": few.std, "shots": float(shots)}
        elif name == "svm":
            accuracy = svm_accuracy(given[0], train_y, given[1], test_y)
            results[name] = {"accuracy": accuracy}
        else:
            ks = sorted({min(k, n) for k in (1, 5, 10)})
            results[name] = retrieval_metrics(train_x, train_y, test_x, test_y, ks=ks)
    return results
