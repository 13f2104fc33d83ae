"""Class-imbalanced subsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils import shuffle

from tacit.data.imbalance import imbalanced_indices
from tacit.errors import DataError


def test_linear_profile_of_ten_classes():
    labels = np.random.RandomState(0).permutation(np.repeat(np.arange(10), 50))
    kept = imbalanced_indices(labels)
    assert kept.dtype == np.int64
    assert np.bincount(labels[kept]).tolist() == [5 * (i + 1) for i in range(10)]
    assert len(set(kept.tolist())) == len(kept)


def test_exponential_profile_of_a_hundred_classes():
    labels = np.repeat(np.arange(100), 500)
    counts = np.bincount(labels[imbalanced_indices(labels, "exponential")], minlength=100)
    want = [int(500 * math.exp(i // 10 + 1) / math.exp(10)) for i in range(100)]
    assert counts.tolist() == want
    assert counts[0] == 0
    assert counts[99] == 500


def test_exponential_profile_of_few_classes():
    labels = np.repeat(np.arange(3), 1000)
    counts = np.bincount(labels[imbalanced_indices(labels, "exponential")])
    assert counts.tolist() == [135, 367, 1000]


@pytest.mark.parametrize("seed", [2021, 7])
def test_kept_samples_are_the_first_of_a_seeded_shuffle(seed):
    labels = np.random.RandomState(1).randint(0, 10, 700)
    want = [
        shuffle(np.where(labels == i)[0], random_state=seed)[
            : int((i + 1) / 10 * (labels == i).sum())
        ]
        for i in range(10)
    ]
    assert np.array_equal(imbalanced_indices(labels, seed=seed), np.concatenate(want))


def test_kinds_of_labels_and_state():
    labels = [0, 1, 1, 0, 3, 3, 1]
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    expected = imbalanced_indices(labels)
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(expected, imbalanced_indices(np.array(labels)))
    assert np.array_equal(expected, imbalanced_indices(torch.tensor(labels)))


def test_bad_inputs():
    with pytest.raises(ValueError, match="profile"):
        imbalanced_indices([0, 1], "quadratic")
    for labels in ([], [[0, 1]], [0.5, 1.0], [-1, 0]):
        with pytest.raises(DataError):
            imbalanced_indices(labels)
