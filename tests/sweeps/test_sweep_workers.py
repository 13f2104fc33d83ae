"""Sweeps as a user types them: here, with two workers, on Ray; killed and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import tacit
from tacit.cli import app
from tacit.sweeps.study import CLAIMED
from tacit.training.metrics import read_metrics

optuna = pytest.importorskip("optuna")

SETTINGS = {
    "batch_size": 32,
    "image_size": 16,
    "monitor_every": 2,
    "monitor.samples": 32,
    "checkpoint_every": 0.01,
}
SET = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
VARY = ["--vary", "optimizer.lr=1e-3:0.02:log", "--vary", "temperature=0.2,0.5"]


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "tacit", "sweep", *map(str, words), *VARY, *SET, "--no-report"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors[-3000:]
    return out, errors


def again(monkeypatch, folder, *words):
    """The command in this process."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["sweep", *map(str, words), *VARY, *SET, "--no-report"])
    assert done.exit_code == 0, done.output


def trials(folder):
    url = f"sqlite:///{folder}/sweeps/simclr-digits/study.db"
    return optuna.load_study(study_name="simclr-digits", storage=url).trials


def in_training(folder, number, process):
    """Process that trains a trial, once there is a checkpoint of it."""
    path = folder / "sweeps" / "simclr-digits" / f"trial-{number:04d}"
    end = time.monotonic() + 500
    while time.monotonic() < end and process.poll() is None:
        if (path / "checkpoints" / "last.ckpt").is_file():
            status = json.loads((path / "status.json").read_text())
            assert status["state"] == "running"
            return status["pid"]
        time.sleep(0.02)
    raise AssertionError(f"{path} never had a checkpoint: {process.communicate()[1][-3000:]}")


def whole(folder, number, steps):
    """The run of a trial, with every row of its metrics once."""
    run = tacit.load(folder / "sweeps" / "simclr-digits" / f"trial-{number:04d}")
    assert (run.status["state"], run.status["step"]) == ("finished", steps)
    rows = read_metrics(run.path / "metrics.csv")["step"]
    assert rows == sorted(set(rows))
    return run


def test_a_sweep_and_its_continuation(tmp_path, monkeypatch):
    out, errors = finish(start(tmp_path, "digits", "simclr", "--trials", 4, "--steps", 4))
    assert "trial-0003 finished" in errors or "trial-0003 pruned" in errors
    assert "chosen without labels" in out
    folder = tmp_path / "sweeps" / "simclr-digits"
    for i in range(4):
        run = tacit.load(folder / f"trial-{i:04d}")
        assert run.recipe.options["temperature"] in (0.2, 0.5)
        assert run.recipe.optimizer.lr == trials(tmp_path)[i].params["optimizer.lr"]
    assert "trial-0003" in (folder / "report.html").read_text()
    assert tacit.Recipe.load(folder / "best.yaml").steps == 4
    before = (folder / "trial-0000" / "status.json").read_bytes()
    again(monkeypatch, tmp_path, "simclr", "digits", "--trials", 5, "--steps", 4)
    assert len(trials(tmp_path)) == 5
    assert (folder / "trial-0000" / "status.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_worker_is_replaced_and_its_trial_goes_on(tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    steps = 40
    words = ["simclr", "digits", "--trials", 2, "--steps", steps, "--workers", 2, "--no-prune"]
    process = start(tmp_path, *words, "--heartbeat", 1, "--engine", engine)
    victim = in_training(tmp_path, 0, process)
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    out, errors = finish(process)
    if engine == "local":
        assert "was killed (signal 9)" in errors
    first, *others = trials(tmp_path)
    (retry,) = [t for t in others if t.system_attrs.get("failed_trial") == 0]
    assert first.state == optuna.trial.TrialState.FAIL
    assert retry.params == first.params
    done = [t for t in [first, *others] if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(done) == 2
    assert len([first, *others]) == 3
    assert all(t.user_attrs[CLAIMED] == t.number for t in done)
    for t in done:
        run = whole(tmp_path, t.system_attrs.get("failed_trial", t.number), steps)
        assert run.status["rankme"] == t.value
    assert out.count("finished") == 2
    # It went on from its checkpoint and did not begin again.
    assert "begins again" not in errors


@pytest.mark.slow
def test_ctrl_c_loses_nothing(tmp_path, monkeypatch):
    steps = 40
    words = ["simclr", "digits", "--trials", 2, "--steps", steps, "--no-prune"]
    process = start(tmp_path, *words, "--workers", 2)
    worker = in_training(tmp_path, 0, process)  # the other one may be anywhere
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, code=130)
    assert "The same command continues" in errors
    assert {t.state.name for t in trials(tmp_path)} == {"WAITING"}
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    again(monkeypatch, tmp_path, *words)
    assert [t.state.name for t in trials(tmp_path)] == ["COMPLETE", "COMPLETE"]
    for number in (0, 1):
        whole(tmp_path, number, steps)
