"""The best epoch: which it is, whose weights it keeps, and that a resumed run keeps it."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from tacit.parts import BestEpoch


def run(best: BestEpoch, network: nn.Linear, losses: list[list[float]], start: int = 0) -> None:
    """Every step sets the weight to ten times the epoch plus the step after its loss is seen."""
    for epoch, steps in enumerate(losses, start):
        for step, loss in enumerate(steps):
            best.watch(network, torch.tensor(loss), epoch)
            network.weight.data.fill_(10 * epoch + step)


@pytest.mark.parametrize(
    ("losses", "weight"),
    [
        ([[5.0, 1.0], [2.0, 2.0], [4.0, 4.0]], 11),  # by the mean, not the lowest step
        ([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]], 21),  # the last one is closed too
        ([[1.0], [1.0]], 0),  # the first of equals
        ([[float("nan")], [2.0]], 10),
    ],
)
def test_weights_of_the_end_of_the_epoch_with_the_lowest_mean(
    losses: list[list[float]], weight: float
) -> None:
    best, network = BestEpoch(), nn.Linear(1, 1, bias=False)
    run(best, network, losses)
    best.restore(network)
    assert network.weight.item() == weight


def test_without_a_step_nothing_changes() -> None:
    best, network = BestEpoch(), nn.Linear(1, 1)
    before = network.weight.item()
    best.restore(network)
    assert network.weight.item() == before


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_run_continues(cut: int) -> None:
    losses = [[2.0, 3.0], [1.0, 2.0], [5.0, 0.0], [4.0, 4.0]]
    best, network = BestEpoch(), nn.Linear(1, 1, bias=False)
    run(best, network, losses[:cut])
    file = io.BytesIO()
    torch.save(best.state_dict(), file)
    file.seek(0)
    resumed = BestEpoch()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    run(resumed, network, losses[cut:], start=cut)
    resumed.restore(network)
    assert network.weight.item() == 11
