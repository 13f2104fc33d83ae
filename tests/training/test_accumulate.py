"""Steps of several micro-batches: whole in every checkpoint, and left out or taken as one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tacit
from tacit.methods.contrastive.simclr import SimCLR
from tacit.training import module
from tacit.training.checkpoint import CheckpointCallback

SETTINGS: dict[str, Any] = {
    "batch_size": 32, "accumulate": 4, "image_size": 16, "steps": 4, "monitor_every": 100,
    "monitor": {"samples": 32}, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tacit.Run:
    return tacit.pretrain("byol", "digits", out=tmp_path_factory.mktemp("whole"), **SETTINGS)


@pytest.mark.parametrize("event", ["signal", "save"])
def test_in_the_middle_of_a_step_nothing_is_saved_and_nothing_stops(
    event: str, whole: tacit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CheckpointCallback.on_train_batch_end

    def then(self: Any, trainer: Any, own: Any, outputs: Any, batch: Any, i: int) -> None:
        if batch.micro_step == 5 and event == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        if batch.micro_step == 5 and event == "save":
            self._saved_at = float("-inf")
        real(self, trainer, own, outputs, batch, i)
        if batch.micro_step == 9 and event == "save":
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointCallback, "on_train_batch_end", then)
        if event == "save":
            with pytest.raises(RuntimeError, match="stopped"):
                tacit.pretrain("byol", "digits", out=tmp_path / "run", **SETTINGS)
        else:
            run = tacit.pretrain("byol", "digits", out=tmp_path / "run", **SETTINGS)
            assert (run.status["state"], run.status["step"]) == ("interrupted", 2)
    run = tacit.load(tmp_path / "run").resume(progress=False)
    assert run.status["loss"] == whole.status["loss"]
    first, second = whole.encoder.state_dict(), run.encoder.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("bad", "taken"), [([7], 4), ([4, 5, 6, 7], 3)])
def test_a_step_is_taken_with_its_good_batches_and_left_out_without_any(
    bad: list[int], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(SimCLR, "before_step", lambda self: done.append("before"))
    monkeypatch.setattr(SimCLR, "after_step", lambda self: done.append("after"))
    seen: list[int] = []

    def check(views: list[Any]) -> torch.Tensor | None:
        seen.append(len(seen))
        return torch.arange(len(views[0])) == 0 if seen[-1] in bad else None

    monkeypatch.setattr(module, "_not_finite", check)
    run = tacit.pretrain("simclr", "digits", out=tmp_path / "run", **SETTINGS)
    assert len(seen) == 16
    assert run.status["skipped_batches"] == len(bad)
    assert done == ["before", "after"] * taken
