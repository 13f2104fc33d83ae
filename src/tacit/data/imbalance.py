"""Class-imbalanced subsets of labelled data, to test robustness to uncurated pre-training sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tacit.errors import DataError


def _kept_fraction(class_index: int, classes: int, profile: str) -> float:
    if profile == "linear":
        return (class_index + 1.0) / classes
    # Ten steps, or one a class where there are fewer: groups of ten classes for 100 classes.
    steps = min(classes, 10)
    step = class_index * steps // classes
    return math.exp(step + 1.0) / math.exp(steps)


def imbalanced_indices(
    labels: Sequence[int] | np.ndarray | Tensor, profile: str = "linear", seed: int = 2021
) -> np.ndarray:
    """Indices of a subset whose classes shrink towards class 0.

    ``"linear"``: class i of C keeps the fraction (i + 1) / C (CIFAR-10). ``"exponential"``:
    class i keeps exp(g + 1 - 10), where g in 0..9 is its tenth of the classes (CIFAR-100: g is
    i // 10); with fewer than ten classes each is its own step. Which samples stay is a
    permutation of each class with the same seed; counts are rounded down.

    Parameters
    ----------
    labels
        (N,) class indices from 0.
    profile
        ``"linear"`` or ``"exponential"``.
    seed
        Seed of the permutations.

    Returns
    -------
    numpy.ndarray
        Indices (int64) into ``labels``, class after class.

    Raises
    ------
    ValueError
        On an unknown profile.
    DataError
        If ``labels`` is empty, not one-dimensional, negative or not integer.

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> kept = imbalanced_indices([0] * 10 + [1] * 10)
    >>> len(kept), int((kept < 10).sum())
    (15, 5)
    """
    if profile not in ("linear", "exponential"):
        raise ValueError(f"profile must be 'linear' or 'exponential', got {profile!r}")
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"labels must be a non-empty (N,) array, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise DataError(f"labels must be class indices from 0 upwards, got {array.dtype}")
    classes = int(array.max()) + 1
    kept = []
    for index in range(classes):
        members = np.flatnonzero(array == index)
        count = int(_kept_fraction(index, classes, profile) * len(members))
        kept.append(members[np.random.RandomState(seed).permutation(len(members))[:count]])
    return np.concatenate(kept).astype(np.int64)
