"""The bytes of a table of text, unpacked as they are read and no further than is plausible."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO

from tacit.errors import DataError
from tacit.untrusted import refuse_bomb

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_OTHERS = (".zst", ".lz4", ".zip", ".br")


class _Counted(io.RawIOBase):
    """An unpacked stream that stops where it has become a decompression bomb."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._size, self._read = file, path, path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        self._read += len(data)
        refuse_bomb(str(self._path), self._read, self._size, "Or unpack it and give the table.")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_table_text(path: Path) -> IO[bytes]:
    """A table for reading; `.gz`, `.bz2` and `.xz` are unpacked.

    Raises
    ------
    OSError : it cannot be opened. DataError : packed in another way; while reading, a bomb.
    """
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise DataError(f"{path}: unpack it; tables are read as text, .gz, .bz2 or .xz.")
    if suffix not in _OPENERS:
        return open(path, "rb")
    return io.BufferedReader(_Counted(_OPENERS[suffix](path, "rb"), path), 2**20)  # type: ignore[arg-type,operator]
