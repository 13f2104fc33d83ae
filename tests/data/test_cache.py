"""The cache: hit, miss, concurrent and killed writers, no room, damage."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from image_helpers import noise, write_images

from tacit.data import ImageSource, open_source
from tacit.data import cache as module
from tacit.errors import DataError

OPEN = """
import itertools, os, signal, sys
import tacit.data.stream as stream
last = int(sys.argv[2])
def counted(*args, decode=stream.decode, calls=itertools.count(1)):
    if next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*args)
stream.decode = counted
from tacit.data import open_source
source = open_source("images:" + sys.argv[1], progress=False)
print(source.fingerprint, len(source))
"""


def open_folder(folder: Path, **options: object) -> ImageSource:
    return open_source(f"images:{folder}", progress=False, **options)  # type: ignore[arg-type]


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def no_decoding(*_: object) -> None:
    raise AssertionError("an image was decoded")


def test_second_opening_decodes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    write_images(tmp_path, 5)
    first = open_folder(tmp_path)
    monkeypatch.setattr("tacit.data.stream.decode", no_decoding)
    monkeypatch.setattr("tacit.data.encoded.peek", no_decoding)
    second = open_folder(tmp_path)
    assert torch.equal(first.batch(range(5)), second.batch(range(5)))
    assert first.fingerprint == second.fingerprint
    assert len(entries(cache)) == 1
    with pytest.raises(AssertionError, match="was decoded"):
        open_folder(tmp_path, image_size=8)  # other settings are another entry


def test_a_changed_added_or_removed_file_is_noticed(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 4, kind="bmp")  # bmp: the same size in bytes
    before = open_folder(tmp_path)
    noise(99).save(paths[2])
    os.utime(paths[2], ns=(0, paths[2].stat().st_mtime_ns + 1))
    changed = open_folder(tmp_path)
    assert not torch.equal(before.batch([2]), changed.batch([2]))
    assert before.fingerprint != changed.fingerprint
    noise(100).save(tmp_path / "new.bmp")
    assert len(open_folder(tmp_path)) == 5
    paths[0].unlink()
    assert len(open_folder(tmp_path)) == 4


def test_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 3)
    write_images(tmp_path / "b", 3)
    os.utime(tmp_path / "b" / "000.png", (0, 0))
    first, second = open_folder(tmp_path / "a"), open_folder(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    noise(5).save(tmp_path / "b" / "001.png")
    assert open_folder(tmp_path / "b").fingerprint != first.fingerprint


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "data", 2)
    open_folder(tmp_path / "data", cache_dir=tmp_path / "mine")
    assert len(entries(tmp_path / "mine")) == 1
    monkeypatch.delenv("TACIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert module.cache_folder() == tmp_path / "xdg" / "tacit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert module.cache_folder() == Path.home() / ".cache" / "tacit"


def test_pickled_source_carries_no_pixels(tmp_path: Path) -> None:
    write_images(tmp_path, 3, size=(200, 200))
    source = open_folder(tmp_path)
    data = pickle.dumps(source)
    assert len(data) < 3000
    assert torch.equal(pickle.loads(data).batch([1]), source.batch([1]))


def start(folder: Path, last: int = 0) -> subprocess.Popen[str]:
    """A process that opens a folder, and kills itself when it decodes the `last` image."""
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder), str(last)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_build_one_entry(tmp_path: Path, cache: Path) -> None:
    write_images(tmp_path, 40)
    processes = [start(tmp_path) for _ in range(2)]
    answers = [process.communicate(timeout=600)[0] for process in processes]
    assert answers[0] == answers[1]
    assert answers[0].split()[1] == "40"
    assert len(entries(cache)) == 1
    assert open_folder(tmp_path).fingerprint == answers[0].split()[0]


def test_killed_while_building(tmp_path: Path, cache: Path) -> None:
    write_images(tmp_path, 40)
    process = start(tmp_path, last=20)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    assert list(cache.glob("*.tmp-*/pixels.u8"))
    assert len(entries(cache)) == 1  # what it left behind
    source = open_folder(tmp_path)
    assert len(source) == 40
    assert not list(cache.glob("*.tmp-*"))
    shutil.rmtree(cache)
    assert open_folder(tmp_path).fingerprint == source.fingerprint


@pytest.mark.parametrize("damage", ["truncate", "index", "no index", "wrong index"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, cache: Path, damage: str) -> None:
    write_images(tmp_path, 4)
    fingerprint = open_folder(tmp_path).fingerprint
    (entry,) = entries(cache)
    if damage == "truncate":
        os.truncate(entry / "pixels.u8", 100)
    elif damage == "index":
        (entry / "index.json").write_text('{"channels": 3')
    elif damage == "no index":
        (entry / "index.json").unlink()
    else:
        (entry / "index.json").write_text("[1, 2]")
    source = open_folder(tmp_path)
    assert source.fingerprint == fingerprint
    assert len(source.batch(range(4))) == 4


def test_an_error_while_building_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, 4)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", no_decoding)
        with pytest.raises(AssertionError):
            open_folder(tmp_path)
    assert entries(cache) == []


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(2**30, 2**30, 10))


def test_streams_the_same_pixels_when_the_disk_is_full(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    write_images(data / "a", 20, size=(30, 40))
    write_images(data / "b", 20, kind="jpg", size=(130, 200))
    (data / "a" / "005.png").write_bytes(b"broken")
    cached = open_folder(data)
    full_disk(monkeypatch)
    with caplog.at_level(logging.WARNING, "tacit.data"):
        streamed = open_folder(data, cache_dir=tmp_path / "full")
    assert "decoded on the fly" in caplog.text
    assert not list((tmp_path / "full").rglob("pixels.u8"))
    order = torch.randperm(39, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cached.batch(order), streamed.batch(order))
    assert streamed.batch([]).shape == (0, 3, 96, 96)
    assert cached.skipped == streamed.skipped
    assert cached.fingerprint == streamed.fingerprint
    assert cached.labels is not None
    assert streamed.labels is not None
    assert cached.labels.tolist() == streamed.labels.tolist()
    copy = pickle.loads(pickle.dumps(streamed))
    assert torch.equal(copy.batch([3]), cached.batch([3]))


def test_streaming_keeps_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path, 5)
    full_disk(monkeypatch)
    first = open_folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("tacit.data.stream.decode", no_decoding)
        second = open_folder(tmp_path)
    assert first.fingerprint == second.fingerprint
    paths[3].unlink()
    with pytest.raises(DataError, match=r"003\.png.*not any more"):
        second.batch([3])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_streams_when_writing_fails(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write_images(tmp_path, 5)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "fsync", fail)
    source = open_folder(tmp_path)
    assert len(source.batch(range(5))) == 5
    assert not list(cache.rglob("pixels.u8"))


def test_streams_when_the_cache_folder_is_a_file(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 3)
    (tmp_path / "file").write_text("x")
    source = open_folder(tmp_path / "data", cache_dir=tmp_path / "file")
    assert torch.equal(source.batch([2]), open_folder(tmp_path / "data").batch([2]))
