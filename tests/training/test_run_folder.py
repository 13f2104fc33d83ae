"""What the run folder says of where it was trained."""

import fcntl
import json
from datetime import datetime

import pytest

import tacit
from tacit.errors import TacitError
from tacit.methods.contrastive.simclr import SimCLR
from tacit.training import folder as module
from tacit.training.folder import RunFolder

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("head", "commit"),
    [
        (COMMIT, COMMIT),
        ("ref: refs/heads/main", COMMIT),
        ("ref: refs/heads/absent", None),
        ("ref: ../secret", None),
        ("a text of the user", None),
        ("\xff", None),
    ],
)
def test_the_commit_is_a_commit_and_nothing_else(head, commit, tmp_path, monkeypatch):
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    (tmp_path / "secret").write_text("password\n")
    (tmp_path / ".git" / "HEAD").write_text(head + "\n", encoding="latin-1")
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    RunFolder(inner).write_environment(0)
    assert json.loads((inner / "environment.json").read_text())["commit"] == commit


@pytest.mark.parametrize("skipped", [3, [1, 2], [["a"]], [["a", 1]], {"a": "b"}, ["ab"]])
def test_what_was_skipped_is_names_and_reasons(skipped, tmp_path):
    folder = RunFolder(tmp_path)
    folder.set_status("finished", skipped=[["a.png", "empty file"]])
    assert folder.status()["skipped"] == [["a.png", "empty file"]]
    folder.set_status("finished", skipped=skipped)
    with pytest.raises(TacitError, match=r"damaged .skipped = "):
        folder.status()


def test_runs_of_one_second_have_a_folder_each(tmp_path, monkeypatch):
    class Clock:
        @staticmethod
        def now():
            return datetime(2026, 1, 1)

    monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    names = {RunFolder.create(None, "simclr", "digits").path.name for _ in range(3)}
    assert names == {f"simclr-digits-20260101-000000{end}" for end in ("", "-2", "-3")}
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "other" / "runs").symlink_to("nowhere")
    with pytest.raises(TacitError, match="Cannot create the run folder 'runs'"):
        RunFolder.create(None, "simclr", "digits")


def test_a_look_at_a_folder_does_not_stop_a_run(tmp_path, monkeypatch):
    """`tacit runs` may hold the lock for a moment, at which a run begins."""
    folder, looks = RunFolder(tmp_path), []
    with open(tmp_path / ".lock", "a+") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not folder.is_locked()
        monkeypatch.setattr(module.time, "sleep", lambda _: (looks.append(1), look.close()))
        folder.lock()
    assert looks == [1]
    assert folder.locked
    folder.unlock()


def test_two_runs_on_one_folder(tmp_path):
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    first.lock()
    assert second.is_locked()
    with pytest.raises(TacitError, match="Another process is training in"):
        second.lock()
    assert not second.locked
    first.unlock()
    second.lock()
    second.unlock()
    assert not first.is_locked()


@pytest.mark.parametrize(("every", "fails_at", "kept"), [(100, 1, False), (1, 2, True)])
def test_a_run_that_fails_with_nothing_to_show_leaves_nothing(
    every, fails_at, kept, tmp_path, monkeypatch
):
    real, calls = SimCLR.training_loss, []

    def fails(self, batch):
        calls.append(batch)
        if len(calls) == fails_at:
            raise MemoryError
        return real(self, batch)

    monkeypatch.setattr(SimCLR, "training_loss", fails)
    options = {"batch_size": 16, "image_size": 16, "steps": 3, "monitor_every": every}
    options |= {"monitor": {"samples": 32}, "progress": False}
    with pytest.raises(TacitError, match="Out of memory"):
        tacit.pretrain("simclr", "digits", out=tmp_path / "run", **options)
    assert (tmp_path / "run").exists() == kept
    if kept:
        assert tacit.load(tmp_path / "run").status["state"] == "failed"
        return
    calls.clear()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(TacitError, match="Out of memory"):
        tacit.pretrain("simclr", "digits", out=tmp_path / "run", **options)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
