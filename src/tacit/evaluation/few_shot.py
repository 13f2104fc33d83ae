"""The few-shot probe: logistic regression from a handful of labels a class, over random draws."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .inputs import Labels, OtherLabels, OtherRows, Rows, check_finite, select_rows
from .linear import linear_probe
from .probe_result import check_probe


class FewShotResult(NamedTuple):
    """Mean and standard deviation (divisor trials - 1) of the accuracy over trials."""

    mean: float
    std: float
    accuracies: list[float]


def few_shot_probe(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows,
    test_y: OtherLabels,
    *,
    shots: int = 5,
    trials: int = 5,
    C: float = 1.0,
    seed: int = 0,
) -> FewShotResult:
    """Accuracy of `linear_probe` (L-BFGS) on `shots` random training rows of each class.

    Parameters
    ----------
    train_x, train_y, test_x, test_y : features (n, d) and (m, d), and integer labels.
    shots : labelled rows of each class; every class needs at least as many.
    trials : independent draws.
    C : inverse L2 strength.
    seed : of the draws.

    >>> import torch
    >>> x = torch.eye(3).repeat(20, 1)
    >>> few_shot_probe(x, torch.arange(60) % 3, x, torch.arange(60) % 3, shots=2).mean
    1.0
    """
    if shots < 1 or trials < 1:
        raise ValueError(f"shots and trials must be at least 1, not {shots} and {trials}.")
    labels, _ = check_probe(train_x, train_y, test_x, test_y)
    check_finite(train_x, "train_x")
    classes, counts = labels.unique(return_counts=True)
    if int(counts.min()) < shots:
        raise ValueError(
            f"class {int(classes[counts.argmin()])} has only {int(counts.min())} training rows, "
            f"but shots = {shots}."
        )
    generator = torch.Generator().manual_seed(seed)
    accuracies = []
    for _ in range(trials):
        order = torch.randperm(len(labels), generator=generator)
        # A stable sort by class keeps the random order inside each class.
        order = order[labels[order].argsort(stable=True)]
        first = torch.repeat_interleave(counts.cumsum(0) - counts, shots)
        index = order[first + torch.arange(shots).repeat(len(classes))]
        result = linear_probe(select_rows(train_x, index), labels[index], test_x, test_y, C=C)
        accuracies.append(result.accuracy)
    scores = torch.tensor(accuracies, dtype=torch.float64)
    spread = float(scores.std()) if trials > 1 else 0.0
    return FewShotResult(float(scores.mean()), spread, accuracies)
