"""A run with a time instead of steps, by a clock that every step moves on by one second."""

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

SETTINGS: dict[str, Any] = {
    "batch_size": 16, "image_size": 16, "max_time": "6s", "monitor_every": 1,
    "monitor": {"samples": 32}, "schedule": {"warmup": 0.0}, "progress": False,
}  # fmt: skip


class Clock:
    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps at which Ctrl-C is pressed."""
    stops: list[int] = []

    def after_step(self: SimCLR) -> None:
        Clock.now += 1.0
        if stops and self.progress.step + 1 == stops[0]:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(SimCLR, "after_step", after_step)
    return stops


def test_it_ends_after_its_time_also_in_two_parts(tmp_path: Path, stop_at: list[int]) -> None:
    whole = tacit.pretrain("simclr", "digits", out=tmp_path / "whole", **SETTINGS)
    assert (whole.status["state"], whole.status["step"]) == ("finished", 6)
    assert whole.status["seconds"] == 6.0
    cosine = [(1 + torch.cos(torch.tensor(i * torch.pi / 6))).item() / 2 for i in range(6)]
    rates = whole.metrics["lr"]
    assert [rate / rates[0] for rate in rates] == pytest.approx(cosine, rel=1e-5)
    stop_at.append(2)
    part = tacit.pretrain("simclr", "digits", out=tmp_path / "part", **SETTINGS)
    assert (part.status["state"], part.status["step"]) == ("interrupted", 2)
    part = part.resume(progress=False)
    assert (part.status["state"], part.status["step"]) == ("finished", 6)
    assert part.metrics["lr"] == rates
    first, second = whole.encoder.state_dict(), part.encoder.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
