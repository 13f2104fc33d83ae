"""Linear, ridge and few-shot probes, against scikit-learn where it has the same objective."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from tacit.evaluation import (
    evaluate_embeddings,
    features,
    few_shot_probe,
    linear_probe,
    ridge_probe,
)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x), torch.tensor(y)
    return x[:800], y[:800], x[1200:], y[1200:]


@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("standardize", [True, False])
def test_lbfgs_equals_sklearn(digits, C: float, standardize: bool) -> None:
    x, y, test_x, test_y = digits
    if not standardize:
        x, test_x = x / 16, test_x / 16
    result = linear_probe(x, y, test_x, test_y, C=C, standardize=standardize, max_iter=2000)
    scaler = StandardScaler(with_mean=standardize, with_std=standardize).fit(x.numpy())
    model = LogisticRegression(C=C, max_iter=10000, tol=1e-8)
    model.fit(scaler.transform(x.numpy()), y.numpy())
    expected = model.predict(scaler.transform(test_x.numpy()))
    assert np.array_equal(result.predict(test_x).numpy(), expected)
    assert result.accuracy == pytest.approx(float((expected == test_y.numpy()).mean()), abs=1e-12)
    assert result.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(test_y.numpy(), expected), abs=1e-12
    )
    scale = scaler.scale_ if standardize else 1.0
    np.testing.assert_allclose(result.weights.numpy(), model.coef_ / scale, atol=2e-3)


def test_float32_memory_map_in_blocks_gives_the_same_probe(
    digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, test_x, test_y = digits
    cached = linear_probe(x, y, test_x, test_y, C=0.1)
    np.save(tmp_path / "x.npy", x.float().numpy())
    monkeypatch.setattr(features, "CACHE_BYTES", 0)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    streamed = linear_probe(mapped, y.numpy(), test_x.float().numpy(), test_y.numpy(), C=0.1)
    assert streamed.accuracy == pytest.approx(cached.accuracy, abs=0.004)
    torch.testing.assert_close(streamed.weights.double(), cached.weights, atol=1e-2, rtol=0)
    sgd = linear_probe(mapped, y, test_x.float(), test_y, method="sgd", epochs=2)
    assert sgd.accuracy > 0.7


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_sgd_probe(digits, schedule) -> None:
    x, y, test_x, test_y = digits
    result = linear_probe(
        x, y, test_x, test_y, method="sgd", schedule=schedule, batch_size=100, epochs=20, seed=3
    )
    best = linear_probe(x, y, test_x, test_y)
    assert result.accuracy == pytest.approx(best.accuracy, abs=0.03)
    assert math.isnan(result.C)


def test_sgd_steps_equal_autograd(digits) -> None:
    x, y, test_x, test_y = (part[:300] for part in digits)
    result = linear_probe(
        x, y, test_x, test_y, method="sgd", batch_size=300, epochs=3, standardize=False, lr=1e-3
    )
    weight = torch.zeros(10, 64, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], 1e-3, momentum=0.9, weight_decay=1e-4)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / 3)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(x @ weight.T + bias, y).backward()
        optimizer.step()
    torch.testing.assert_close(result.weights, weight.detach(), atol=1e-10, rtol=0)
    torch.testing.assert_close(result.bias, bias.detach(), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("noise", "best"), [(1.0, 0.01), (0.0, 10.0)])
def test_strength_is_chosen_on_held_out_rows(noise: float, best: float) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 30, generator=g)
    truth = x[:, 0] + noise * torch.randn(300, generator=g)
    y = (truth > 0).long()
    chosen = linear_probe(x[:150], y[:150], x[150:], y[150:], C=[10.0, 0.01])
    assert best == chosen.C
    single = linear_probe(x[:150], y[:150], x[150:], y[150:], C=best)
    assert torch.equal(chosen.weights, single.weights)


def test_ridge_equals_sklearn(digits) -> None:
    x, y, test_x, test_y = digits
    result = ridge_probe(x, y, test_x, test_y, alpha=3.0, standardize=False)
    model = Ridge(alpha=3.0).fit(x.numpy(), np.eye(10)[y.numpy()])
    np.testing.assert_allclose(result.weights.numpy(), model.coef_, atol=1e-9)
    np.testing.assert_allclose(result.bias.numpy(), model.intercept_, atol=1e-9)
    assert ridge_probe(x, y, test_x, test_y).accuracy > 0.85


def test_labels_of_any_value_and_metrics() -> None:
    x = torch.eye(3).repeat(10, 1)
    y = torch.tensor([-5, 7, 1000]).repeat(10)
    result = linear_probe(x, y, x, y)
    assert result.accuracy == result.top5 == result.balanced_accuracy == 1.0
    assert result.classes.tolist() == [-5, 7, 1000]
    wrong = y.clone()
    wrong[0] = 7
    part = ridge_probe(x, y, x, wrong)
    assert part.accuracy == pytest.approx(29 / 30)
    assert part.per_class.tolist() == pytest.approx([1.0, 10 / 11, 1.0])
    assert part.balanced_accuracy == pytest.approx((2 + 10 / 11) / 3)


def test_top5() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 8, generator=g)
    y = torch.randint(10, (3000,), generator=g)
    result = ridge_probe(x[:2000], y[:2000], x[2000:], y[2000:])
    assert 0.05 < result.accuracy < 0.15
    assert 0.4 < result.top5 < 0.6


def test_few_shot(digits) -> None:
    x, y, test_x, test_y = digits
    one = few_shot_probe(x, y, test_x, test_y, shots=1, trials=2)
    ten = few_shot_probe(x, y, test_x, test_y, shots=8, trials=2)
    assert ten.mean > one.mean > 0.3
    assert ten.std == pytest.approx(float(np.std(ten.accuracies, ddof=1)))
    assert few_shot_probe(x, y, test_x, test_y, shots=1, trials=2) == one
    assert few_shot_probe(x, y, test_x, test_y, shots=1, trials=2, seed=1) != one
    with pytest.raises(ValueError, match="shots = 500"):
        few_shot_probe(x, y, test_x, test_y, shots=500)


def test_few_shot_draws_that_many_rows_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    import tacit.evaluation.few_shot as module

    original = module.linear_probe

    def spy(x, y, *rest, **options):
        seen.append((x, y))
        return original(x, y, *rest, **options)

    monkeypatch.setattr(module, "linear_probe", spy)
    y = torch.tensor([0] * 30 + [1] * 7 + [5] * 13)
    x = torch.nn.functional.one_hot(y).double() + torch.arange(50)[:, None] * 1e-6
    few_shot_probe(x, y, x, y, shots=4, trials=2)
    for rows, labels in seen:
        assert labels.bincount().tolist() == [4, 4, 0, 0, 0, 4]
        assert len(rows.unique(dim=0)) == 12
        assert torch.equal(rows.argmax(1), labels)
    assert not torch.equal(seen[0][0], seen[1][0])


@pytest.mark.parametrize("classes", [5, 6])
def test_five_best_of_five_are_not_worth_a_row(classes: int) -> None:
    x, y = torch.eye(classes).repeat(10, 1), torch.arange(10 * classes) % classes
    assert ("top5" in evaluate_embeddings(x, y, x, y, ["linear"])["linear"]) == (classes > 5)


def test_evaluate_embeddings(digits) -> None:
    x, y, test_x, test_y = digits
    results = evaluate_embeddings(x, y, test_x, test_y)
    assert list(results) == ["knn", "linear", "few-shot", "retrieval"]
    assert results["knn"]["accuracy"] > 0.9
    assert results["linear"]["accuracy"] > 0.88
    assert results["few-shot"]["mean"] > 0.6
    assert 0.5 < results["retrieval"]["map"] < 1
    small = evaluate_embeddings(x[:12], y[:12], test_x, test_y, ["knn", "few-shot", "retrieval"])
    assert small["knn"]["k"] == 12
    assert small["few-shot"]["shots"] == 1
    with pytest.raises(ValueError, match="Did you mean 'linear'"):
        evaluate_embeddings(x, y, test_x, test_y, ["linera"])


@pytest.mark.filterwarnings("ignore:classes .* are in test_y:UserWarning")
@pytest.mark.parametrize("probe", [linear_probe, ridge_probe, few_shot_probe, evaluate_embeddings])
def test_bad_input(probe) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 4, generator=g), torch.arange(20) % 2
    with pytest.raises(ValueError, match="one class only"):
        probe(x, torch.zeros(20, dtype=torch.int64), x, y)
    with pytest.raises(ValueError, match="one class only"):
        probe(x[:1], y[:1], x, y)
    with pytest.raises(ValueError, match="one integer label"):
        probe(x, y[:19], x, y)
    with pytest.raises(ValueError, match="one integer label"):
        probe(x, y, x, y[:3])
    with pytest.raises(ValueError, match="same encoder"):
        probe(x, y, x[:, :3], y)
    broken = x.clone()
    broken[[1, 5]] = math.nan
    with pytest.raises(ValueError, match="2 of 20 rows"):
        probe(broken, y, x, y)
    with pytest.raises(ValueError, match="2 of 20 rows"):
        probe(x, y, broken, y)


def test_options_are_checked() -> None:
    x, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="C must be positive"):
        linear_probe(x, y, x, y, C=0.0)
    with pytest.raises(ValueError, match="alpha"):
        ridge_probe(x, y, x, y, alpha=0.0)
    with pytest.warns(UserWarning, match=r"classes \[9\]"):
        result = ridge_probe(x, y, x, torch.tensor([0, 1, 9, 1]))
    assert result.accuracy <= 0.75
