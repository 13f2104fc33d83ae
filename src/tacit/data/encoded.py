"""Encoded images (files, table rows) before they are decoded, and the plan for decoding them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from tacit.data.decode import Header, Plan, Undecodable, peek
from tacit.untrusted import visible

DEFAULT_SIZE = 96  # where the images have differing sizes
LARGEST_NATIVE = 256  # one shared square size up to here is kept
SAMPLE = 2048  # headers that a provisional plan is judged from


class Reader(Protocol):
    """Gives the bytes of items; safe to call from several threads, and picklable."""

    def __call__(self, items: Sequence[int]) -> list[bytes | Exception]:
        """The bytes of each item, or the error that its reading met."""
        ...


@dataclass(frozen=True)
class FileReader:
    """Items are files."""

    paths: list[Path]

    def __call__(self, items: Sequence[int]) -> list[bytes | Exception]:
        return [_read(self.paths[item]) for item in items]


def _read(path: Path) -> bytes | Exception:
    try:
        return path.read_bytes()
    except OSError as error:
        return error


@dataclass
class Encoded:
    """Images that still have to be decoded.

    `key` identifies the content (file list with sizes and modification times); `items` are the
    names that messages use; `skipped` are things that could not even be listed.
    """

    name: str
    key: str
    items: Sequence[str]
    read: Reader
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)


def content_key(parts: Iterable[object]) -> str:
    """Hash of a list of values; each is delimited, so no two lists run into each other."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        text = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


def file_key(path: Path) -> tuple[str, int, int]:
    """What identifies a file's content without reading it: its path, size and mtime."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def printable(name: str) -> str:
    """A file name that every terminal and JSON file can carry, and no terminal obeys."""
    return visible(name)


def make_plan(encoded: Encoded, image_size: int | None, *, everything: bool = False) -> Plan:
    """Channels and size of the decoded images.

    One channel if all are grey, else three. `image_size` if given; else the images' own size where
    all share one square size of at most 256 pixels, else 96. Judged from the headers of at most
    2,048 evenly spaced images unless `everything`; the plan is then provisional, and decoding
    notices an image that contradicts it.
    """
    count = len(encoded)
    sampled = count > SAMPLE and not everything
    chosen = np.linspace(0, count - 1, SAMPLE).astype(int) if sampled else np.arange(count)
    headers = list(_headers(encoded, chosen.tolist()))
    if not headers and sampled:
        return make_plan(encoded, image_size, everything=True)
    grey = bool(headers) and all(header.grey for header in headers)
    sizes = {(header.width, header.height) for header in headers}
    width, height = next(iter(sizes), (0, 0))
    native = image_size is None and len(sizes) == 1 and width == height <= LARGEST_NATIVE
    return Plan(
        channels=1 if grey else 3,
        size=width if native else image_size or DEFAULT_SIZE,
        native=native,
        provisional=sampled and (grey or native),
    )


def _headers(encoded: Encoded, items: list[int]) -> Iterable[Header]:
    for start in range(0, len(items), 256):
        for data in encoded.read(items[start : start + 256]):
            if isinstance(data, bytes):
                try:
                    yield peek(data)
                except Undecodable:
                    continue
