"""Every test has its own cache folder, and limits what a bomb could do to the machine."""

from __future__ import annotations

import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("TACIT_DATA", raising=False)


@pytest.fixture
def bounded() -> Iterator[None]:
    """At most 4 GiB of address space more than now; allocators reserve much that they never use."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**32, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def zip_of() -> Callable[..., Path]:
    """zip_of(path, member, start, block, times): a member of `start` and so many times `block`."""

    def make(path: Path, member: str, start: bytes, block: bytes, times: int) -> Path:
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(member, "w", force_zip64=True) as file,
        ):
            file.write(start)
            for _ in range(times):
                file.write(block)
        return path

    return make


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Path]:
    """A file that an attack would make; it must not be there in the end."""
    yield tmp_path / "owned"
    assert not (tmp_path / "owned").exists(), "code of the file was run"
