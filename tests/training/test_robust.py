"""What can go wrong while training: damaged checkpoints, bad samples, full disks, no memory."""

from __future__ import annotations

import errno
import json
import signal

import numpy as np
import pytest
import torch

import tacit
from tacit.data import SeriesSource
from tacit.errors import TacitError
from tacit.methods.contrastive.simclr import SimCLR
from tacit.training.checkpoint import PREVIOUS, find_checkpoint
from tacit.training.metrics import MetricsFile, read_metrics

FAST = {
    "batch_size": 32,
    "monitor_every": 5,
    "monitor": {"samples": 32},
    "checkpoint_every": 1e-6,  # seconds: after every step
    "progress": False,
}


def images(n=200):
    return np.random.default_rng(0).integers(0, 255, (n, 16, 16), dtype=np.uint8)


def train(out, **options):
    return tacit.pretrain("simclr", "digits", out=out, **{**FAST, "steps": 12, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("robust") / "run")


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the checkpoints of a run, to damage."""
    source = trained.folder.checkpoint_path.parent
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_whole_checkpoints_are_found(folder):
    assert find_checkpoint(folder / "last.ckpt") == folder / "last.ckpt"
    assert step_of(folder / "last.ckpt") == 12
    assert find_checkpoint(folder / "missing" / "last.ckpt") is None
    assert sorted(json.loads((folder / "checksums.json").read_text())) == ["last.ckpt", PREVIOUS]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "gone"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(folder, damage, caplog):
    path = folder / "last.ckpt"
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert find_checkpoint(path) == folder / PREVIOUS
    assert ("damaged" in caplog.text) == (damage != "gone")
    (folder / PREVIOUS).write_bytes(b"also damaged")
    with pytest.raises(TacitError, match="damaged"):
        find_checkpoint(path)


def test_every_point_of_saving_leaves_a_checkpoint(folder, monkeypatch):
    """A crash at any rename: what is there is whole, known, and of the last two."""
    from tacit.training import checkpoint

    class Saving:
        is_global_zero = True

        def save_checkpoint(self, path):
            torch.save({"global_step": 99}, path)

    real, calls = checkpoint.os.replace, []
    for crash in range(3):

        def replace(a, b, crash=crash):
            calls.append(b)
            if len(calls) > crash:
                raise KeyboardInterrupt
            real(a, b)

        calls.clear()
        monkeypatch.setattr(checkpoint.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save_checkpoint(Saving(), folder / "last.ckpt")  # type: ignore[arg-type]
        monkeypatch.setattr(checkpoint.os, "replace", real)
        found = find_checkpoint(folder / "last.ckpt")
        assert found is not None
        assert step_of(found) in (11, 12, 99)


def test_resume_after_damage_equals_the_uninterrupted_run(tmp_path):
    whole = train(tmp_path / "whole", steps=12)
    part = train(tmp_path / "part", steps=12)
    part.folder.checkpoint_path.write_bytes(b"damaged")
    part.folder.set_status("interrupted")
    resumed = part.resume(progress=False)
    for column in set(whole.metrics) - {"seconds", "samples_per_second"}:
        assert whole.metrics[column] == resumed.metrics[column], column
    first, second = whole.encoder.state_dict(), resumed.encoder.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, caplog):
    whole = train(tmp_path / "run", steps=10)
    before = whole.metrics
    for file in whole.folder.checkpoint_path.parent.iterdir():
        file.unlink()
    whole.folder.set_status("killed")
    again = whole.resume(progress=False)
    assert "begins again" in caplog.text
    for column in set(before) - {"seconds", "samples_per_second"}:
        assert before[column] == again.metrics[column], column


class Poisoned(SimCLR):
    """SimCLR that must never see a value that is not finite."""

    def training_loss(self, batch):
        assert all(torch.isfinite(view).all() for view in batch.views)
        return super().training_loss(batch)


def poison(monkeypatch, rows):
    """Views give NaN for these rows of the source, as a faulty user's view would."""
    from tacit.training.module import TrainingModule

    real = TrainingModule.training_step

    def step(self, raw, index):
        views = self.views

        class Bad(torch.nn.Module):
            def forward(self, samples, generator):
                made = views(samples, generator)
                made[1][torch.isin(raw.rows, torch.tensor(rows))] = float("nan")
                return made

        object.__setattr__(self, "_poison", Bad())
        self._modules["views"] = self._poison
        try:
            return real(self, raw, index)
        finally:
            self._modules["views"] = views

    monkeypatch.setattr(TrainingModule, "training_step", step)


def test_bad_batches_are_left_out_counted_and_named(tmp_path, monkeypatch, caplog):
    poison(monkeypatch, [7])
    run = tacit.pretrain(Poisoned, images(), out=tmp_path / "run", **{**FAST, "steps": 12})
    epochs = 12 // (180 // 32)
    assert 1 <= run.status["skipped_batches"] <= epochs + 1
    assert run.status["state"] == "finished"
    assert "samples 7" in caplog.text
    assert all(torch.isfinite(p).all() for p in run.encoder.state_dict().values())


def test_too_many_bad_batches_stop_the_run(tmp_path, monkeypatch):
    poison(monkeypatch, list(range(200)))
    with pytest.raises(TacitError, match=r"4 such batches.*Repair or remove"):
        tacit.pretrain(
            "simclr", images(), out=tmp_path / "run", **{**FAST, "steps": 12, "max_bad_batches": 3}
        )


def test_a_run_that_diverges_in_its_last_step_says_so(tmp_path):
    with pytest.raises(TacitError, match=r"after step [12]: the run diverged.*a lower --lr"):
        train(tmp_path / "run", steps=2, optimizer="sgd", lr=1e38, monitor_every=1)
    assert tacit.load(tmp_path / "run").status["state"] == "failed"


@pytest.mark.parametrize("where", ["GPU", "CPU"])
def test_no_memory_says_which_setting_to_lower(tmp_path, monkeypatch, where):
    def full(self, batch):
        if where == "CPU":
            torch.empty(2**50)  # what torch itself says
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(SimCLR, "training_loss", full)
    with pytest.raises(TacitError, match=r"batches of 32. Lower --batch-size"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()  # nothing was trained


def test_a_full_disk_says_so_and_keeps_the_run(tmp_path, monkeypatch):
    real, written = MetricsFile.append, []

    def append(self, row):
        written.append(row)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "append", append)
        with pytest.raises(TacitError, match=r"No space left on device.*--resume"):
            train(tmp_path / "run", steps=40)
    run = tacit.load(tmp_path / "run").resume(progress=False)
    assert read_metrics(run.folder.metrics_path)["step"] == list(range(5, 45, 5))


def test_a_run_killed_in_its_last_save_is_finished_by_resuming(tmp_path):
    """Every step is in the checkpoint already; half-written files of the kill are swept away."""
    whole = train(tmp_path / "run", steps=10)
    health = whole.status["health"]
    folder = whole.path
    (folder / "encoder.safetensors").unlink()
    (folder / "status.json").unlink()
    for name in ("checkpoints/.last.ckpt.tmp", ".status.json.x1", ".encoder.77.safetensors"):
        (folder / name).write_bytes(b"half")
    (folder / ".gitignore").write_text("mine")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    again = tacit.load(folder).resume(progress=False)
    assert again.status["state"] == "finished"
    assert again.status["health"] == health
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert again.status["rankme"] == pytest.approx(whole.metrics["rankme"][-1], rel=1e-6)
    hidden = {file.name for file in folder.rglob(".*") if file.is_file()}
    assert hidden == {".lock", ".gitignore"}
    assert again.encoder.dim == whole.encoder.dim


def test_what_a_method_refuses_in_a_step_is_a_message(tmp_path):
    windows = SeriesSource("x", np.random.default_rng(0).normal(size=(8, 1, 400)), rate=100)
    tiny = {"step_s": 0.5, "dim": 8, "depth": 1, "heads": 2}
    for options, message in (
        ({"mask_ratio": 0.0}, "neuronet, step 0: no token is masked"),
        ({"mask_ratio": 0.5, "batch_size": 1}, "batches of at least 2 series"),
    ):
        with pytest.raises(TacitError, match=message):
            tacit.pretrain(
                "neuronet", windows, out=tmp_path / message[:8], steps=1, progress=False,
                encoder_options=tiny, **options,
            )  # fmt: skip


def test_an_error_from_elsewhere_keeps_its_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(SimCLR, "training_loss", lambda *_: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        train(tmp_path / "run")
