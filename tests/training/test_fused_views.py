"""Long runs on a CPU compile their small views; short ones do not wait for it."""

from __future__ import annotations

import pytest
from torch import nn

from tacit.modalities.image import ChannelsLast
from tacit.recipe import Recipe
from tacit.training.module import TrainingModule
from tacit.views import build_views


@pytest.mark.parametrize(("steps", "compiled"), [(None, False), (100, False), (10_000, True)])
def test_the_length_of_the_run_decides(steps: int | None, compiled: bool) -> None:
    pytest.importorskip("numba")
    views = build_views("simclr", image_size=32, channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    recipe = Recipe(method="simclr", batch_size=64, max_time=1.0 if steps is None else None)
    module = TrainingModule(
        nn.Identity(),  # type: ignore[arg-type]
        ChannelsLast(views),
        recipe,
        total_steps=steps,
        steps_per_epoch=10,
    )
    module.on_fit_start()
    assert (views.views[0].fused is not None) == compiled
