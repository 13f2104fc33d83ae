"""Archives of arrays (.npz): no objects, no bombs, and one kind of error for all damage."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from tacit.errors import DataError
from tacit.untrusted import refuse_bomb


class Npz:
    """The arrays of an archive by name, each read when it is asked for.

    Raises
    ------
    DataError : the file is missing or no archive; an array holds objects (which would need
        pickle), is damaged, or unpacks to far more than its size.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(path, x=np.arange(3))
    >>> with Npz(path) as archive: archive.files, archive["x"].sum()
    (['x'], np.int64(3))
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device never ends
                raise DataError(f"{path} cannot be read as .npz (it is not a regular file).")
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise DataError(f"the file {path} does not exist.") from error
        except DataError:
            raise
        except Exception as error:  # zipfile raises nearly anything on damaged files
            raise DataError(self._wrong(error)) from error
        self._members = {
            info.filename.removesuffix(".npy"): info
            for info in self._zip.infolist()
            if info.filename.endswith(".npy")
        }
        self.files = list(self._members)

    def _wrong(self, error: Exception) -> str:
        try:
            with open(self.path, "rb") as file:
                if file.read(6) == b"\x93NUMPY":
                    return f"{self.path} is one array, not an .npz archive. Save it with np.savez."
        except (OSError, ValueError):
            pass
        return (
            f"{self.path} cannot be read as .npz: it is not an archive ({error}). Save arrays with "
            "np.savez."
        )

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            member = self._members[name]
            with self._zip.open(member) as file:
                self._check(member, file)
            with self._zip.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except DataError:
            raise
        except Exception as error:  # zlib, lzma, tokenizer, numpy: each has its own errors
            raise DataError(
                f"{self.path} cannot be read as .npz: the array '{name}' is damaged "
                f"({type(error).__name__}: {error})."
            ) from error

    def _check(self, member: zipfile.ZipInfo, file: IO[bytes]) -> None:
        """What the header says against what is there, before anything of that size is made."""
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        what = f"the array '{member.filename.removesuffix('.npy')}' of {self.path}"
        if dtype.hasobject:
            raise DataError(f"{what} is of {dtype}; Python objects are refused. Save numbers.")
        size = dtype.itemsize
        for side in shape:  # as Python integers: no overflow
            size *= side
        if size < 0 or size > member.file_size:
            raise DataError(
                f"{what} is damaged: it claims {shape} of {dtype}, more than the file holds."
            )
        advice = "Or save it without compression (np.savez)."
        refuse_bomb(what, member.file_size, member.compress_size, advice)

    def __enter__(self) -> Npz:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
