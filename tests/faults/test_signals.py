"""Ctrl-C and SIGTERM at every stage of a run: the exit code says which, and the run resumes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tacit.api
import tacit.training.checkpoint as checkpoint
import tacit.training.fit as fit
import tacit.training.monitor as monitor
from tacit.training.metrics import read_metrics

COMMON = ["simclr", "digits", "--steps", "6", "--batch-size", "16", "--image-size", "16"]
COMMON += ["--no-report", "--set", "monitor_every=3", "--set", "monitor.samples=32"]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def send(number: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.05)  # Python runs its handlers between two instructions


def before_call(module: Any, name: str, number: int, times: int = 1, call: int = 1) -> None:
    """The `call`-th call of a function receives the signal first."""
    real, calls = getattr(module, name), []

    def function(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            send(number, times)
        return real(*args, **options)

    setattr(module, name, function)


# Where the signal falls: what to wrap, and whether there is a run already.
STAGES: dict[str, tuple[Callable[[int], None], bool]] = {
    "opening the data": (lambda n: before_call(tacit.api, "open_source", n), False),
    "building the method": (lambda n: before_call(fit, "build_method", n), False),
    "setting up the trainer": (
        lambda n: before_call(checkpoint.CheckpointCallback, "on_train_start", n),
        True,
    ),
    "in a step": (lambda n: before_call(fit.TrainingModule, "training_step", n, call=3), True),
    "in validation": (lambda n: before_call(monitor.MonitorCallback, "look", n), True),
    "in saving": (lambda n: before_call(checkpoint, "write_atomic", n), True),
    "twice in a step": (
        lambda n: before_call(fit.TrainingModule, "training_step", n, times=2, call=3),
        True,
    ),
    "writing the encoder": (lambda n: before_call(fit, "save_encoder", n), True),
}


QUICK = (  # the other pairs are among the slow tests
    ("opening the data", signal.SIGINT),
    ("in validation", signal.SIGTERM),
    ("in saving", signal.SIGINT),
)
PAIRS = [
    pytest.param(
        stage, number, id=f"{number.name} {stage}",
        marks=() if (stage, number) in QUICK else pytest.mark.slow,
    )
    for stage in STAGES
    for number in SIGNALS
]  # fmt: skip


@pytest.mark.parametrize(("stage", "number"), PAIRS)
def test_a_signal_at_any_stage(stage: str, number: int, tmp_path: Path, command) -> None:
    wrap, begun = STAGES[stage]
    slow = ["--set", "checkpoint_every=0.000001"] if stage == "in saving" else []
    done = command("pretrain", *COMMON, *slow, "-o", tmp_path / "run", before=lambda: wrap(number))
    assert done.code == SIGNALS[number], done.text
    assert "Traceback" not in done.text
    assert (tmp_path / "run" / "recipe.yaml").is_file() == begun
    if not begun:
        assert not (tmp_path / "run").exists()
        return
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "interrupted"
    done = command("pretrain", "--resume", tmp_path / "run", "--no-report")
    assert done.code == 0, done.text
    metrics = read_metrics(tmp_path / "run" / "metrics.csv")
    assert metrics["step"][-1] == 6
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_second_run_waits_for_nobody(tmp_path: Path, command) -> None:
    """Two runs on one folder: the second is refused and the first not disturbed."""
    done = command("pretrain", *COMMON, "-o", tmp_path / "run")
    assert done.code == 0, done.text
    (tmp_path / "run" / "status.json").unlink()
    import fcntl

    with open(tmp_path / "run" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in (["--resume", tmp_path / "run"], [*COMMON, "-o", tmp_path / "run"]):
            done = command("pretrain", *arguments)
            assert done.code == 2
            assert "Another process" in done.text or "already holds a run" in done.text
