"""Fine-tuning on connectivity: it learns, and freezes what it should."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tacit.encoders import GINEncoder
from tacit.evaluation import fine_tune_fc

N = 6
FAST = {"window": 20, "stride": 15, "batch_size": 4, "lr": 5e-3, "max_lr": 1e-2}


def recordings(n: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two kinds: the first three regions move together, or the last three do."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    own, common = torch.randn(n, 60, N, generator=g), torch.randn(n, 60, 1, generator=g)
    inside = (torch.arange(N) < 3) == (labels[:, None] == 0)
    return own + 2 * common * inside[:, None], labels


def encoder(input: str = "profile") -> GINEncoder:
    torch.manual_seed(0)
    return GINEncoder(N, 8, 2, input, aggregation="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("input", ["profile", "onehot_gru"])
def test_it_learns_to_tell_graphs_apart(input: str) -> None:
    ts, labels = recordings()
    tuned = fine_tune_fc(encoder(input), ts, labels, epochs=12, **FAST)
    assert len(tuned.losses) == 4 * 12
    other, truth = recordings(seed=1)
    assert (tuned.predict(other).argmax(1) == truth).float().mean() >= 0.9
    assert not tuned.model.training


def test_the_given_layers_and_the_global_generator_stay() -> None:
    ts, labels = recordings()
    net = encoder()
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    tuned = fine_tune_fc(net, ts, labels, epochs=2, **FAST)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(tuned.model.encoder.project.weight, net.project.weight)
    again = fine_tune_fc(net, ts, labels, epochs=2, **FAST)
    assert tuned.losses == again.losses
    assert fine_tune_fc(net, ts, labels, epochs=2, seed=1, **FAST).losses != again.losses


@pytest.mark.parametrize("steps", range(1, 9))
def test_any_number_of_steps(steps: int) -> None:  # five divided by zero in the schedule
    ts, labels = recordings(2)
    options = {**FAST, "batch_size": 2}
    assert len(fine_tune_fc(encoder(), ts, labels, epochs=steps, **options).losses) == steps


def test_the_head_alone() -> None:
    ts, labels = recordings()
    net = encoder()
    tuned = fine_tune_fc(net, ts, labels, train="head", epochs=2, **FAST)
    for key, value in net.state_dict().items():  # batch statistics too
        assert torch.equal(value, tuned.model.encoder.state_dict()[key]), key
    assert tuned.losses[-1] != tuned.losses[0]


def test_regression_and_crops() -> None:
    ts, labels = recordings()
    tuned = fine_tune_fc(encoder(), ts, labels * 2.0 - 1, epochs=20, length=40, **FAST)
    other, truth = recordings(seed=1)
    predicted = tuned.predict(other)
    assert predicted.shape == (16, 1)
    assert ((predicted[:, 0] > 0) == (truth == 1)).float().mean() >= 0.9


def test_bad_labels_are_refused() -> None:
    ts, labels = recordings()
    for bad in (labels[:3], labels - 1):
        with pytest.raises(ValueError, match="a label of 0 or above for each of 16"):
            fine_tune_fc(encoder(), ts, bad, **FAST)
    with pytest.raises(Exception, match="'all'"):
        fine_tune_fc(encoder(), ts, labels, train="none", **FAST)  # type: ignore[arg-type]
