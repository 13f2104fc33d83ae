"""Training on a GPU: every method, the same numbers again, resuming, compiled networks, memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from tacit.errors import ConfigError, TacitError
from tacit.registry import METHODS
from tacit.training.metrics import read_metrics

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: make test-gpu")

TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 64, "monitor_every": 2, "monitor": {"samples": 64},
    "progress": False, "checkpoint_every": 0.001,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {"wmse": {"w_size": 32, "proj_output_dim": 16}}
IMAGES = [name for name in METHODS.names() if "image" in METHODS.get(name).modalities]


@pytest.fixture
def train(tmp_path):
    """train(method, data, **options) -> Run in a folder of its own"""
    count = iter(range(100))

    def run(method: str, data: Any, **options: Any) -> tacit.Run:
        return tacit.pretrain(method, data, out=tmp_path / f"run{next(count)}", **TINY | options)

    return run


def waves(n: int = 128) -> np.ndarray:
    """Series (n, 1, 256) of a few frequencies, with noise."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 256)
    f = rng.integers(2, 20, n)[:, None]
    clean = np.sin(2 * np.pi * f * t)
    return (clean + 0.1 * rng.standard_normal(clean.shape))[:, None].astype(np.float32)


def same(a: tacit.Run, b: tacit.Run) -> None:
    """Equal weights and equal curves, but for their times."""
    mine, other = a.encoder.state_dict(), b.encoder.state_dict()
    assert all(torch.equal(mine[key], other[key]) for key in mine)
    mine, other = read_metrics(a.path / "metrics.csv"), read_metrics(b.path / "metrics.csv")
    for name in ("step", "loss", "rankme"):
        assert mine[name] == pytest.approx(other[name], abs=0, nan_ok=True), name


@pytest.mark.parametrize("method", IMAGES)
def test_every_method_trains_and_repeats(method, train):
    runs = [train(method, "digits", **OWN.get(method, {})) for _ in range(2)]
    assert runs[0].recipe.precision == "bf16"
    same(*runs)
    z = runs[0].embed("digits", split="test")
    assert np.isfinite(z).all()


def test_series(train, tmp_path):
    np.savez(tmp_path / "waves.npz", series=waves())
    run = train("simclr", f"npz:{tmp_path}/waves.npz")
    assert np.isfinite(run.embed(f"npz:{tmp_path}/waves.npz")).all()


def test_resuming_is_exact(train):
    whole = train("byol", "digits", steps=8)
    script = (
        "import os, signal, sys, tacit, tacit.training.fit as fit\n"
        "real = fit.TrainingModule.training_step\n"
        "def step(self, *a):\n"
        "    if self.global_step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(self, *a)\n"
        "fit.TrainingModule.training_step = step\n"
        "sys.argv = ['tacit', *sys.argv[1:]]\n"
        "from tacit.cli import main\n"
        "main()\n"
    )
    out = whole.path.parent / "stopped"
    words = ["pretrain", "byol", "digits", "--steps", "8", "--batch-size", "64", "-o", str(out)]
    words += ["--no-report", "--set", "monitor_every=2", "--set", "monitor.samples=64"]
    words += ["--set", "checkpoint_every=0.001"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    words = ["pretrain", "--resume", str(out), "--no-report"]
    done = subprocess.run(
        [sys.executable, "-m", "tacit", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    same(whole, tacit.load(out))


def test_compiled_networks_train_alike(train):
    options = {"encoder": "resnet18", "image_size": 32, "steps": 6, "precision": "32"}
    plain, compiled = (
        train("simclr", "digits", **options),
        train("simclr", "digits", compile=True, **options),
    )
    a, b = (read_metrics(run.path / "metrics.csv")["loss"] for run in (plain, compiled))
    assert a == pytest.approx(b, rel=2e-2)
    assert set(plain.encoder.state_dict()) == set(compiled.encoder.state_dict())


def test_gradient_caching(train):
    run = train("simclr", "digits", batch_size=256, forward_batch=32)
    assert run.status["state"] == "finished"


def test_out_of_memory_is_a_message(train):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.005)
    try:
        with pytest.raises(TacitError, match="Out of memory with batches of 512"):
            train("simclr", "digits", encoder="resnet50", image_size=224, batch_size=512)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_more_devices_than_there_are(train):
    with pytest.raises(ConfigError, match="this machine has"):
        train("simclr", "digits", devices=torch.cuda.device_count() + 1)


def test_torchrun_with_nccl(tmp_path):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "tacit"]
    words += ["pretrain", "simclr", "digits", "--steps", "3", "--batch-size", "64", "--no-report"]
    done = subprocess.run(
        [sys.executable, *words, "-o", str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert tacit.load(tmp_path / "run").status["state"] == "finished"
