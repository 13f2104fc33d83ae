"""The linear layer on a frozen encoder, and scores of ordered classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from tacit.evaluation import FrozenProbe, frozen_linear_probe, regression_scores


def blobs(n: int = 90, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return 2 * F.one_hot(y, 5).float() + torch.randn(n, 5, generator=g), y


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def test_it_is_adam_with_a_cosine_a_epoch() -> None:
    x, y = blobs()
    probe = frozen_linear_probe(same, (x, y), (x, y), epochs=7, seed=4)
    generator = torch.Generator().manual_seed(4)
    layer = nn.Linear(5, 3)
    layer.weight.data = 0.01 * torch.randn(3, 5, generator=generator)
    layer.bias.data.zero_()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    for epoch in range(7):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 + math.cos(math.pi * epoch / 7)) / 2
        loss = F.cross_entropy(layer(x), y)  # one batch: the order does not matter
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(probe.logits, layer(x).detach(), atol=1e-5, rtol=1e-5)


def test_batches_seeds_and_arrays() -> None:
    x, y = blobs()
    first, again, other = (
        frozen_linear_probe(same, (x, y), (x, y), epochs=3, batch_size=20, seed=s)
        for s in (0, 0, 1)
    )
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.logits, other.logits)
    arrays = frozen_linear_probe(
        same, (x.numpy(), y.numpy()), (x.numpy(), y.numpy()), epochs=3, batch_size=20
    )
    assert torch.equal(first.logits, arrays.logits)


def test_every_sample_is_encoded_once() -> None:
    x, y = blobs(600)
    seen = []

    def encode(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return part

    frozen_linear_probe(encode, (x, y), (x[:10], y[:10]), epochs=5)
    assert sum(seen) == 610
    assert max(seen) <= 256


def test_an_encoder_in_training_mode_is_refused() -> None:
    x, y = blobs()
    network = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5))
    for encode in (network, network.forward):
        with pytest.raises(ValueError, match="training mode"):
            frozen_linear_probe(encode, (x, y), (x, y), epochs=1)
    network.eval()
    frozen_linear_probe(network, (x, y), (x, y), epochs=1)


def test_balanced_sampling_lifts_the_rare_class() -> None:
    g = torch.Generator().manual_seed(0)
    y = (torch.arange(400) % 20 == 0).long()
    x = torch.randn(400, 2, generator=g) + y[:, None]
    plain, balanced = (
        frozen_linear_probe(same, (x, y), (x, y), epochs=150, balanced=b) for b in (False, True)
    )
    assert float((plain.predicted == 1).float().mean()) < 0.05
    assert 0.15 < float((balanced.predicted == 1).float().mean()) < 0.5


def test_classification_scores_against_scikit_learn() -> None:
    g = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(60, 4, generator=g), torch.arange(60) % 3  # class 3 is absent
    scores = FrozenProbe(logits, truth).classification()
    predicted = logits.argmax(1)
    assert scores["accuracy"] == pytest.approx(float((predicted == truth).float().mean()))
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["weighted_f1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
    own = logits[:, :3].double().softmax(1).numpy()
    assert scores["auc"] == pytest.approx(roc_auc_score(truth, own, multi_class="ovo"))
    two = FrozenProbe(logits[:, :2], truth % 2).classification()
    difference = (logits[:, 1] - logits[:, 0]).numpy()
    assert two["auc"] == pytest.approx(roc_auc_score(truth % 2, difference))
    assert math.isnan(FrozenProbe(logits, torch.zeros(60).long()).classification()["auc"])


def test_regression_scores() -> None:
    a, b = np.array([3, 5, 9, 9]), np.array([0, 4, 12, 8])
    scores = regression_scores(torch.tensor(a), torch.tensor(b))
    assert scores["mae"] == 2
    assert scores["rmse"] == pytest.approx(math.sqrt(20 / 4))
    assert scores["mape"] == pytest.approx(100 * np.mean([1 / 4, 3 / 12, 1 / 8]))
    assert scores["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    constant = regression_scores(torch.ones(3), torch.zeros(3))
    assert math.isnan(constant["pearson"])
    assert math.isnan(constant["mape"])
    with pytest.raises(ValueError, match="one length"):
        regression_scores(torch.ones(3), torch.ones(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "must be > 0"),
        ({"lr": -1.0}, "must be > 0"),
        ({"n_classes": 2}, "from 0 to 2, outside"),
    ],
)
def test_refused_options(change: dict, message: str) -> None:
    x, y = blobs()
    with pytest.raises(ValueError, match=message):
        frozen_linear_probe(same, (x, y), (x, y), **{"epochs": 1, **change})


def test_refused_data() -> None:
    x, y = blobs()
    with pytest.raises(ValueError, match="test labels go from 0 to 3"):
        frozen_linear_probe(same, (x, y), (x, y.clone().index_fill_(0, torch.tensor(0), 3)))
    with pytest.raises(ValueError, match="one integer label"):
        frozen_linear_probe(same, (x, y[:-1]), (x, y), epochs=1)
    with pytest.raises(ValueError, match="features of train: 1 of 90"):
        frozen_linear_probe(same, (x.clone().index_fill_(0, torch.tensor(2), torch.nan), y), (x, y))
