"""Exact neighbours and the weighted kNN classifier against naive versions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.evaluation import cosine_neighbors, knn_accuracy, knn_classify
from tacit.evaluation import knn as module


def blobs(n: int, d: int = 8, classes: int = 4, seed: int = 0, noise: float = 1.0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    centres = 2 * torch.randn(classes, d, generator=torch.Generator().manual_seed(99))
    return centres[y] + noise * torch.randn(n, d, generator=g), y


def similarities(queries: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(bank).T


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 40), st.integers(0, 10), st.booleans(), st.integers(0, 99)
)
def test_neighbors_equal_the_full_sort(n: int, m: int, k: int, itself: bool, seed: int) -> None:
    bank, _ = blobs(n + 1, seed=seed)
    queries, _ = blobs(m, seed=seed + 1)
    k = max(1, min(k, n))
    sizes = module.QUERY_BLOCK, module.BANK_BLOCK
    module.QUERY_BLOCK, module.BANK_BLOCK = 7, 70  # several blocks, the last ones short
    try:
        near = cosine_neighbors(bank, None if itself else queries, k)
    finally:
        module.QUERY_BLOCK, module.BANK_BLOCK = sizes
    full = similarities(bank if itself else queries, bank)
    if itself:
        full.fill_diagonal_(-torch.inf)
    expected = full.topk(k, dim=1)
    torch.testing.assert_close(near.similarities, expected.values, atol=1e-6, rtol=0)
    torch.testing.assert_close(full.gather(1, near.indices), expected.values, atol=1e-6, rtol=0)
    assert all(len(set(row)) == k for row in near.indices.tolist())


def naive(train, labels, test, k: int, temperature: float, classes: int) -> torch.Tensor:
    out = []
    for row in similarities(test, train):
        top = row.topk(k)
        score = torch.zeros(classes)
        for s, i in zip(top.values, top.indices):
            score[labels[i]] += math.exp(float(s) / temperature)
        out.append(score / score.sum())
    return torch.stack(out)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (50, 0.5)])
def test_scores_equal_a_naive_vote(k: int, temperature: float) -> None:
    train, labels = blobs(200)
    test, _ = blobs(30, seed=5)
    scores = knn_classify(train, labels, test, k=k, temperature=temperature, return_scores=True)
    expected = naive(train, labels, test, k, temperature, 4)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    predicted = knn_classify(train, labels, test, k=k, temperature=temperature)
    assert torch.equal(predicted, expected.argmax(1))


def test_tiny_temperature_does_not_overflow() -> None:
    train, labels = blobs(100)
    scores = knn_classify(train, labels, train, k=5, temperature=1e-4, return_scores=True)
    assert bool(torch.isfinite(scores).all())
    assert torch.equal(scores.argmax(1), labels)


def test_temperature_changes_the_vote() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[1.0, 0.0]])
    assert knn_classify(bank, labels, query, k=3, temperature=0.07).item() == 0
    assert knn_classify(bank, labels, query, k=3, temperature=10.0).item() == 1


def test_accuracy_and_leave_one_out() -> None:
    train, labels = blobs(300, noise=0.3)
    test, truth = blobs(100, seed=3, noise=0.3)
    assert knn_accuracy(train, labels, test, truth) > 0.95
    assert knn_accuracy(train, labels) > 0.95
    random = torch.randint(4, (300,), generator=torch.Generator().manual_seed(1))
    assert knn_accuracy(train, random, train, random, k=1) == 1.0  # every row finds itself
    assert knn_accuracy(train, random, k=1) < 0.5  # leave-one-out does not


def test_scale_of_rows_and_input_kind_do_not_matter(tmp_path: Path) -> None:
    train, labels = blobs(150)
    test, _ = blobs(20, seed=2)
    expected = knn_classify(train, labels, test)
    assert torch.equal(knn_classify(100 * train, labels, 0.01 * test), expected)
    np.save(tmp_path / "x.npy", train.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(knn_classify(mapped, labels.numpy(), test.numpy()), expected)
    assert torch.equal(knn_classify(train.double(), labels, test.double()), expected)


def test_number_of_classes() -> None:
    train, labels = blobs(50)
    scores = knn_classify(train, labels, train, k=3, n_classes=9, return_scores=True)
    assert scores.shape == (50, 9)
    with pytest.raises(ValueError, match="n_classes is 2"):
        knn_classify(train, labels, train, k=3, n_classes=2)


def test_bad_input() -> None:
    train, labels = blobs(10)
    with pytest.raises(ValueError, match="pass 1 <= k <= 10"):
        knn_classify(train, labels, train, k=20)
    with pytest.raises(ValueError, match="beside the row itself"):
        knn_classify(train, labels, None, k=10)
    with pytest.raises(ValueError, match="temperature"):
        knn_classify(train, labels, train, k=2, temperature=0.0)
    with pytest.raises(ValueError, match="one integer label"):
        knn_classify(train, labels[:9], train, k=2)
    with pytest.raises(ValueError, match="same encoder"):
        knn_classify(train, labels, torch.ones(2, 3), k=2)
    with pytest.raises(ValueError, match="negative"):
        knn_classify(train, labels - 1, train, k=2)
    with pytest.raises(ValueError, match="neither"):
        knn_accuracy(train, labels, train)
    train[3] = math.nan
    with pytest.raises(ValueError, match="1 of 10 rows"):
        knn_classify(train, labels, torch.ones(2, 8), k=2)
