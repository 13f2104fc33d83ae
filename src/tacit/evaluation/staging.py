"""Scores of sleep staging (and of any labelling of consecutive epochs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

STAGES = ("W", "N1", "N2", "N3", "REM")


class StagingScores(NamedTuple):
    """Agreement of two labellings of the same epochs.

    Attributes
    ----------
    accuracy : share of equal labels.
    macro_f1 : mean F1 over the classes that occur in either of them.
    kappa : Cohen's kappa, agreement beyond chance; NaN where both say one and the same class only.
    per_class_f1 : (classes,) F1 of every class; NaN for a class that occurs in neither.
    confusion : (classes, classes) counts, rows true, columns predicted.
    """

    accuracy: float
    macro_f1: float
    kappa: float
    per_class_f1: np.ndarray
    confusion: np.ndarray


def staging_scores(truth: Any, predicted: Any, n_classes: int | None = None) -> StagingScores:
    """Accuracy, macro-F1, Cohen's kappa and F1 of every class.

    Parameters
    ----------
    truth, predicted : (n,) integer classes; epochs whose truth is negative (unscored) are left out.
        One label an epoch: merge overlapping windows first (`merge_windows`).
    n_classes : how many there are; by default the largest label + 1.

    Raises
    ------
    ValueError : different lengths, no scored epoch, or a label out of range.

    References
    ----------
    Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.

    >>> scores = staging_scores([0, 0, 1, 1, -1], [0, 1, 1, 1, 0])
    >>> round(scores.accuracy, 3), round(scores.macro_f1, 3), round(scores.kappa, 3)
    (0.75, 0.733, 0.5)
    """
    true, guess = _labels(truth, "truth"), _labels(predicted, "predicted")
    if true.shape != guess.shape:
        raise ValueError(
            f"truth has {len(true)} epochs and predicted {len(guess)}; give one label an epoch"
        )
    scored = true >= 0
    true, guess = true[scored], guess[scored]
    if len(true) == 0:
        raise ValueError("no epoch is scored (all labels are negative)")
    k = int(max(true.max(), guess.max())) + 1 if n_classes is None else n_classes
    if guess.min() < 0 or max(true.max(), guess.max()) >= k:
        raise ValueError(
            f"labels must be in 0..{k - 1}, got {min(true.min(), guess.min())} to "
            f"{max(true.max(), guess.max())}"
        )
    confusion = np.bincount(true * k + guess, minlength=k * k).reshape(k, k)
    n = len(true)
    rows, columns, right = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (rows + columns)
        observed, chance = right.sum() / n, (rows @ columns) / n**2
        kappa = (observed - chance) / (1 - chance)
    return StagingScores(
        float(observed), float(f1[rows + columns > 0].mean()), float(kappa), f1, confusion
    )


def stage_names(n_classes: int) -> Sequence[str]:
    """W, N1, N2, N3, REM for five classes, otherwise numbers.

    >>> stage_names(5)[4], stage_names(3)
    ('REM', ('0', '1', '2'))
    """
    return STAGES if n_classes == 5 else tuple(str(i) for i in range(n_classes))


def _labels(values: Any, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be one integer an epoch, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)
