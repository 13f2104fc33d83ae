"""Retrieval metrics against scikit-learn and a naive loop."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score

from tacit.evaluation import retrieval, retrieval_metrics


def data(n: int, seed: int, classes: int = 3):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.nn.functional.one_hot(y, 6) + torch.randn(n, 6, generator=g), y


def naive(bank, bank_y, queries, query_y, ks, itself: bool) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    unit = torch.nn.functional.normalize
    for i, (q, y) in enumerate(zip(queries, query_y)):
        score = unit(bank) @ unit(q[None])[0]
        keep = torch.arange(len(bank)) != i if itself else torch.ones(len(bank), dtype=torch.bool)
        score, relevant = score[keep], (bank_y == y)[keep]
        ranked = relevant[score.argsort(descending=True)]
        row = {"map": float(average_precision_score(relevant.numpy(), score.numpy()))}
        row["mrr"] = 1 / (1 + int(ranked.nonzero()[0]))
        for k in ks:
            row[f"recall@{k}"] = float(ranked[:k].any())
            row[f"fraction@{k}"] = float(ranked[:k].sum() / relevant.sum())
            row[f"precision@{k}"] = float(ranked[:k].float().mean())
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: sum(v) / len(v) for name, v in sums.items()}


@pytest.mark.parametrize("itself", [True, False])
def test_equal_to_naive_and_sklearn(itself: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_ELEMENTS", 50 * 7)  # seven queries at a time
    bank, bank_y = data(50, 0)
    queries, query_y = (bank, bank_y) if itself else data(23, 1)
    ks = [1, 3, 10]
    expected = naive(bank, bank_y, queries, query_y, ks, itself)
    given = (bank, bank_y) if itself else (bank, bank_y, queries, query_y)
    result = retrieval_metrics(*given, ks=ks)
    for name, value in result.items():
        assert value == pytest.approx(expected[name], abs=1e-6), name
    fraction = retrieval_metrics(*given, ks=ks, recall="fraction")
    for k in ks:
        assert fraction[f"recall@{k}"] == pytest.approx(expected[f"fraction@{k}"], abs=1e-6)


def test_perfect_and_hopeless() -> None:
    x, y = torch.eye(4).repeat(3, 1), torch.arange(12) % 4
    assert set(retrieval_metrics(x, y, ks=[1]).values()) == {1.0}
    wrong = retrieval_metrics(torch.eye(2), torch.tensor([0, 1]), torch.eye(2).flip(0),
                              torch.tensor([0, 1]), ks=[1])  # fmt: skip
    assert wrong == {"map": 0.5, "mrr": 0.5, "recall@1": 0.0, "precision@1": 0.0}


def test_queries_without_relevant_rows() -> None:
    x, y = data(20, 0)
    with pytest.warns(UserWarning, match="1 of 2 queries"):
        some = retrieval_metrics(x, y, x[:2], torch.tensor([int(y[0]), 77]), ks=[1])
    assert some["recall@1"] == 1.0
    with pytest.raises(ValueError, match="nothing can be retrieved"):
        retrieval_metrics(x, y, x[:2], torch.tensor([77, 78]), ks=[1])


def test_bad_input() -> None:
    x, y = data(5, 0)
    with pytest.raises(ValueError, match="between 1 and the 4 rows"):
        retrieval_metrics(x, y, ks=[5])
    with pytest.raises(ValueError, match="neither"):
        retrieval_metrics(x, y, x)
    with pytest.raises(ValueError, match="one integer label"):
        retrieval_metrics(x, y[:4], ks=[1])
