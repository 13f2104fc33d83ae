"""Full disks, read-only folders and a data folder that must not be written, on real mounts."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tacit
from tacit.run import Run

COMMON = ["simclr", "digits", "--batch-size", "16", "--image-size", "16", "--set"]
COMMON += ["monitor.samples=32", "--set", "checkpoint_every=0.000001"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """disk(options) -> a small file system of its own: "size=2m", then "ro"."""
    made: list[Path] = []

    def mount(options: str, path: Path | None = None) -> Path:
        folder = path or tmp_path / f"disk{len(made)}"
        folder.mkdir(exist_ok=True)
        kind = ["-o", f"remount,{options}"] if path else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *kind, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
        made.append(folder)
        return folder

    if shutil.which("mount") is None or os.name != "posix":
        pytest.skip("needs mount")
    yield mount
    for folder in dict.fromkeys(made):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tacit.pretrain(
        "simclr", "digits", out=tmp_path_factory.mktemp("disk") / "run", steps=2, batch_size=16,
        image_size=16, progress=False,
    )  # fmt: skip


def fill(folder: Path, leave: int) -> Path:
    """Fill a file system up to so many free bytes."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


def clear(done, *words: str, code: int = 2) -> None:
    """One message with these words, and no traceback."""
    assert done.code == code, done.text
    assert "Traceback" not in done.text, done.text
    for word in words:
        assert word in done.text


def test_training_on_a_full_disk_stops_and_resumes(disk, run: Run, command) -> None:
    """Room for some checkpoints, then none; with more room the run goes on to the end."""
    checkpoint = run.folder.checkpoint_path.stat().st_size
    full = disk(f"size={8 * checkpoint}")
    out = full / "run"
    filler = fill(full, 5 * checkpoint // 2)
    done = command("pretrain", *COMMON, "--steps", 8, "-o", out, "--no-report")
    clear(done, "No space left", "resume")
    assert (out / "recipe.yaml").is_file()
    assert not list(out.rglob("*.tmp"))
    filler.unlink()
    clear(command("pretrain", "--resume", out, "--no-report"), code=0)
    assert tacit.load(out).status["state"] == "finished"


@pytest.mark.parametrize("room", [0, 4096, 65536])
def test_a_disk_that_is_full_at_once(room: int, disk, command) -> None:
    full = disk("size=1m")
    fill(full, room)
    done = command("pretrain", *COMMON, "--steps", 2, "-o", full / "run", "--no-report")
    clear(done, str(full / "run"))


def test_embedding_and_report_on_a_full_disk(disk, run: Run, tmp_path: Path, command) -> None:
    full = disk("size=16m")
    fill(full, 8192)
    for name in ("v.npy", "v.parquet"):
        clear(command("embed", run.path, "digits", "-o", full / name), str(full / name))
        assert not (full / name).exists()
    (full / "filler").unlink()
    clear(command("embed", run.path, "digits", "-o", full / "v.npy"), code=0)
    whole = np.load(full / "v.npy", allow_pickle=False)
    clear(command("embed", run.path, "digits", "-o", tmp_path / "v.npy"), code=0)
    assert np.array_equal(whole, np.load(tmp_path / "v.npy", allow_pickle=False))
    small = disk("size=16m")
    shutil.copytree(run.path, small / "run", ignore=shutil.ignore_patterns("checkpoints"))
    fill(small, 4096)
    clear(command("report", small / "run"), "report.html")
    clear(command("export", run.path, "-o", small / "e.safetensors"), "e.safetensors")


def photos(folder: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def opened(folder: Path) -> np.ndarray:
    from tacit.data import open_source

    source = open_source(f"images:{folder}", progress=False)
    return source.batch(range(len(source))).numpy()


def test_a_cache_without_room_or_writing_is_done_without(
    disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = photos(tmp_path / "photos")
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    expected = opened(data)
    for options in ("size=64k", "size=1m,ro"):
        caplog.clear()
        monkeypatch.setenv("TACIT_CACHE", str(disk(options)))
        assert np.array_equal(opened(data), expected)
        assert "decoded on the fly" in caplog.text
        assert "TACIT_CACHE" in caplog.text


def test_a_cache_whose_disk_fills_while_it_is_built(
    disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The check of the free room is not the only guard: another process may take it."""
    data = photos(tmp_path / "photos", 40)
    monkeypatch.setattr("tacit.data.cache._check_room", lambda *_: None)
    full = disk("size=32k")
    monkeypatch.setenv("TACIT_CACHE", str(full))
    pixels = opened(data)
    assert pixels.shape == (40, 3, 24, 24)
    assert "No space left" in caplog.text
    assert not list(full.rglob("pixels.u8"))


def test_data_that_cannot_be_written_are_read(
    disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))
    folder = disk("size=2m")
    photos(folder / "photos")
    np.savez(folder / "a.npz", images=np.zeros((4, 16, 16), np.uint8))
    disk("ro", folder)
    with pytest.raises(OSError, match="Read-only"):
        (folder / "x").touch()
    assert len(opened(folder / "photos")) == 12
    from tacit.data import open_source

    assert len(open_source(f"npz:{folder / 'a.npz'}")) == 4


def test_folders_that_cannot_be_written(disk, run: Run, command) -> None:
    folder = disk("size=64m")
    shutil.copytree(run.path, folder / "run")
    (folder / "empty").mkdir()
    disk("ro", folder)
    train = ["pretrain", *COMMON, "--steps", 2, "--no-report", "-o"]
    clear(command(*train, folder / "new"), "new", "Read-only")
    clear(command(*train, folder / "empty"), "empty", "Read-only")
    clear(command("embed", run.path, "digits", "-o", folder / "v.npy"), "v.npy", "Read-only")
    clear(command("report", folder / "run"), "report.html")
    clear(command("evaluate", folder / "run", "--probe", "knn", "--no-baselines"), "evaluation")
    clear(command("runs", folder), "simclr", code=0)  # reading needs no writing
    clear(command("embed", folder / "run", "digits", "-o", folder.parent / "v.npy"), code=0)


def test_a_limit_of_file_size_is_a_message(tmp_path: Path, command) -> None:
    """Needs no mount: a quota of the process, with the signal ignored as shells do."""
    import signal

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    out = tmp_path / "run"
    done = command("pretrain", *COMMON, "--steps", 4, "-o", out, "--no-report", before=limited)
    clear(done, str(out), os.strerror(errno.EFBIG))


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs to become another user")
def test_a_user_without_rights(run: Run, tmp_path_factory: pytest.TempPathFactory, command) -> None:
    import sklearn.datasets

    digits = Path(sklearn.datasets.__file__).resolve()
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in digits.parents):
        pytest.skip(f"no other user may read the digits below '{digits.parent}'")
    run.evaluate("knn", train_samples=64, test_samples=64, baselines=False)
    run.report()  # code that another user may not read is imported before
    folder = tmp_path_factory.mktemp("others")
    for part in (folder, *folder.parents[:2]):
        part.chmod(0o755)

    def nobody() -> None:
        os.environ["HOME"] = "/nonexistent"
        os.setgid(65534)
        os.setuid(65534)

    hidden = tmp_path_factory.mktemp("hidden") / "folder" / "run"
    hidden.parent.parent.chmod(0o700)
    for arguments in (["pretrain", *COMMON, "--steps", 2, "-o"], ["evaluate"], ["report"]):
        clear(command(*arguments, hidden, before=nobody), str(hidden), "Permission denied")
    done = command("pretrain", *COMMON, "--steps", 2, "-o", folder / "run", before=nobody)
    clear(done, str(folder / "run"), "Permission denied")
