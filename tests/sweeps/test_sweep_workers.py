"""Sweeps as a user types them: here, with two workers, on Ray; killed and stopped."""

from __future__ import annotations

import os
import subprocess
import sys

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
    "checkpoint_every": 0.001,  # seconds: after every step
}
SET = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
VARY = ["--vary", "optimizer.lr=1e-3:0.02:log", "--vary", "temperature=0.2,0.5"]


# Every Python process of the sweep reads this before anything else. The worker that trains the
# first trial does `EVENT` once, at step 10: at that moment and no other, however fast the machine.
SITE = """
import importlib.util, os, signal, sys, time
from pathlib import Path

def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)

def stop_the_sweep():
    came, before = [], signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *a: (came.append(1), before(*a)))
    os.kill(os.getppid(), signal.SIGINT)
    while not came:  # until the sweep tells its workers
        time.sleep(0.01)

def patch(module):
    real = module.TrainingModule.training_step

    def training_step(self, *arguments):
        folder = Path(self.trainer.default_root_dir)
        if self.global_step >= 10 and folder.name == "trial-0000":
            try:
                file = os.open("FLAG", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                pass
            else:
                os.write(file, str(os.getpid()).encode())
                EVENT()
        return real(self, *arguments)

    module.TrainingModule.training_step = training_step

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "tacit.training.module":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        real = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (real(module), patch(module))
        return spec

sys.meta_path.insert(0, Finder())
"""


def start(folder, *words, event=None):
    """The command in a process of its own; `event` is a function of `SITE`."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    if event:
        (folder / "site").mkdir()
        text = SITE.replace("EVENT", event).replace("FLAG", str(folder / "worker"))
        (folder / "site" / "sitecustomize.py").write_text(text)
        env["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(folder / "site"), env.get("PYTHONPATH")])
        )
    return subprocess.Popen(
        [sys.executable, "-m", "tacit", "sweep", *map(str, words), *VARY, *SET, "--no-report"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, errors = process.communicate(timeout=1200)
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
    steps = 20
    words = ["simclr", "digits", "--trials", 2, "--steps", steps, "--workers", 2, "--no-prune"]
    words += ["--heartbeat", 4, "--engine", engine]  # the other worker may be slow, not dead
    process = start(tmp_path, *words, event="kill_itself")
    out, errors = finish(process)
    assert int((tmp_path / "worker").read_text()) != process.pid
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
    steps = 20
    words = ["simclr", "digits", "--trials", 2, "--steps", steps, "--no-prune"]
    process = start(tmp_path, *words, "--workers", 2, event="stop_the_sweep")
    _, errors = finish(process, code=130)
    assert "The same command continues" in errors
    first, *others = trials(tmp_path)
    assert first.state.name == "WAITING"
    assert {t.state.name for t in others} <= {"WAITING", "COMPLETE"}  # that one was anywhere
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "worker").read_text()), 0)
    again(monkeypatch, tmp_path, *words)
    assert [t.state.name for t in trials(tmp_path)] == ["COMPLETE", "COMPLETE"]
    for number in (0, 1):
        whole(tmp_path, number, steps)
