"""Decode once: a memory-mapped uint8 cache of a source's images.

An entry is a folder ``<cache>/<key>/`` with ``pixels.u8`` (raw bytes, (N, C, H, W)) and
``index.json``. The key hashes what identifies the content (for files: path, size and modification
time of each; nothing is read), the decode settings and the versions of the format and of Pillow,
so a changed file gives a new entry and an entry is never changed.

Writing is safe: an entry is built in a temporary folder, flushed to the disk (fsync) and then
renamed in one step, so a reader sees a whole entry or none. One process builds while others wait
on a file lock of the operating system, which a killed process releases by itself; what it left
behind is removed by the next builder.

If the decoded images do not fit the free disk, or the cache folder cannot be written, the images
are decoded on the fly instead. That still needs one pass at the start, to know which files are
readable; only its small index is kept.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tacit.data.decode import Plan, PlanMismatch
from tacit.data.encoded import Encoded, content_key, make_plan, printable
from tacit.data.source import MappedPixels, Pixels
from tacit.data.stream import StreamPixels, decode_in_order
from tacit.errors import DataError

logger = logging.getLogger("tacit.data")

FORMAT = 1
RESERVE = 256 * 2**20  # bytes of the disk that a cache leaves free


@dataclass(frozen=True)
class Index:
    """What is known of a source once all of it was decoded."""

    channels: int
    size: int
    count: int
    skipped: list[tuple[int, str, str]]  # item, name, reason
    fingerprint: str

    @property
    def plan(self) -> Plan:
        return Plan(self.channels, self.size)

    def kept(self, total: int) -> np.ndarray:
        return np.delete(np.arange(total), [item for item, _, _ in self.skipped])


def cache_folder(folder: str | Path | None = None) -> Path:
    """`folder`, else the environment variable TACIT_CACHE, else the user's cache folder."""
    chosen = folder or os.environ.get("TACIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "tacit"


def open_pixels(
    encoded: Encoded,
    *,
    image_size: int | None,
    plan_like: Encoded | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> tuple[Pixels, Index]:
    """The decoded images of `encoded`, from the cache where possible.

    Parameters
    ----------
    encoded : Encoded
    image_size : int or None
        Side of the images; None chooses it (see `make_plan`).
    plan_like : Encoded or None
        Another source (the train split) whose channels and size these images must share.
    cache_dir : path or None
        See `cache_folder`.
    progress : bool
        Show a progress bar on stderr.

    Raises
    ------
    DataError
        If no image at all is readable.
    """
    plan = make_plan(plan_like, image_size, everything=True) if plan_like else None
    root = cache_folder(cache_dir)
    key = content_key(
        (FORMAT, PIL.__version__, image_size, encoded.key, plan_like.key if plan_like else "")
    )
    if (entry := _load(root / key)) is not None:
        return entry
    plan = plan or make_plan(encoded, image_size)
    try:
        _check_room(root, len(encoded) * int(np.prod(plan.shape)))
        with _lock(root / f"{key}.lock"):
            # Another process may have built it while this one waited.
            return _load(root / key) or _build(encoded, plan, image_size, root, key, progress)
    except OSError as error:  # of the cache folder: what reading the data met is in the index
        logger.warning(
            "%s: no cache in %s (%s); images are decoded on the fly, which is slower. "
            "Free some disk or set TACIT_CACHE to a folder with room.",
            encoded.name, root, error.strerror or error,
        )  # fmt: skip
    return _open_stream(encoded, plan, image_size, root / f"{key}-stream", progress)


def _check_room(root: Path, needed: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < needed + RESERVE:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free of which "
            f"{RESERVE / 2**20:.0f} MiB stay free",
        )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        logger.info("another process is decoding the same data; waiting for it (%s)", path)
        lock.acquire()
    except NotImplementedError:  # a file system without locks: the rename alone keeps entries whole
        logger.debug("no file locks on %s", path)
    try:
        yield
    finally:
        lock.release()


def _load(entry: Path) -> tuple[Pixels, Index] | None:
    index = _read_index(entry / "index.json")
    if index is None:
        return None
    path, shape = entry / "pixels.u8", index.plan.shape
    try:
        if path.stat().st_size == index.count * int(np.prod(shape)):
            return MappedPixels(path, index.count, shape), index
    except OSError:
        pass
    logger.warning("cache entry %s is damaged; decoding again", entry)
    return None


def _read_index(path: Path) -> Index | None:
    try:
        fields = json.loads(path.read_text())
        index = Index(**{**fields, "skipped": [tuple(item) for item in fields["skipped"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    numbers = (index.channels, index.size, index.count)
    return index if all(isinstance(n, int) and n > 0 for n in numbers) else None


def _build(
    encoded: Encoded, plan: Plan, image_size: int | None, root: Path, key: str, progress: bool
) -> tuple[Pixels, Index]:
    for left_behind in root.glob(f"{key}.tmp-*"):  # of a killed builder: this process has the lock
        shutil.rmtree(left_behind, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{key}.tmp-", dir=root))
    entry = root / key
    try:
        with open(work / "pixels.u8", "wb", buffering=0) as file:
            index = _decode_all(encoded, plan, image_size, file, progress)
            os.fsync(file.fileno())
        _write(work / "index.json", index)
        if entry.exists():  # damaged, else it would have been loaded
            shutil.rmtree(entry, ignore_errors=True)
        # If another builder was first (no locks here), its entry is as good.
        with contextlib.suppress(FileExistsError):
            _rename(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    loaded = _load(entry)
    if loaded is None:
        raise DataError(f"the cache entry {entry} cannot be read back; delete it and try again.")
    return loaded


def _rename(work: Path, entry: Path) -> None:
    _sync(work)
    try:
        os.rename(work, entry)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(*error.args) from error
        raise
    _sync(entry.parent)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, index: Index) -> None:
    with open(path, "w") as file:
        json.dump(asdict(index), file)
        file.flush()
        os.fsync(file.fileno())


def _open_stream(
    encoded: Encoded, plan: Plan, image_size: int | None, entry: Path, progress: bool
) -> tuple[Pixels, Index]:
    index = _read_index(entry / "index.json")
    if index is None:
        index = _decode_all(encoded, plan, image_size, None, progress)
        with contextlib.suppress(OSError):
            entry.mkdir(exist_ok=True)
            _write(entry / "index.tmp", index)
            os.replace(entry / "index.tmp", entry / "index.json")
    return StreamPixels(encoded, index.plan, index.kept(len(encoded))), index


def _decode_all(
    encoded: Encoded, plan: Plan, image_size: int | None, file: BinaryIO | None, progress: bool
) -> Index:
    """Decode everything (into `file`, if any) and say what was found."""
    try:
        return _decode_with(encoded, plan, file, progress)
    except PlanMismatch:  # the sample was not representative: look at every header, start again
        if file is not None:
            file.seek(0)
            file.truncate()
        plan = replace(make_plan(encoded, image_size, everything=True), provisional=False)
        return _decode_with(encoded, plan, file, progress)


def _decode_with(encoded: Encoded, plan: Plan, file: BinaryIO | None, progress: bool) -> Index:
    digest = hashlib.blake2b(repr(plan.shape).encode(), digest_size=16)
    count, skipped = 0, []
    with _progress_bar(f"decoding {printable(encoded.name)}", len(encoded), progress) as advance:
        for pixels, good, bad in decode_in_order(encoded, plan, advance):
            data = memoryview(pixels.tobytes())
            digest.update(data)
            while file is not None and len(data):
                data = data[file.write(data) :]
            count += len(good)
            skipped += [(item, printable(encoded.items[item]), reason) for item, reason in bad]
    if count == 0:
        first = f" The first: '{skipped[0][1]}': {skipped[0][2]}." if skipped else ""
        raise DataError(
            f"{encoded.name}: none of the {len(encoded)} images can be read.{first} "
            "Give JPEG, PNG, WebP, BMP or TIFF images."
        )
    return Index(plan.channels, plan.size, count, skipped, digest.hexdigest())


@contextlib.contextmanager
def _progress_bar(title: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not show
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda step: bar.advance(task, step)
