"""Arrays out of pickles that others wrote (Planetoid, CIFAR-10): nothing of the file runs.

Two public data sets exist only as pickles. The names that such files hold are mapped to the small
stand-ins below, and every other name is refused. Not even numpy and scipy build objects from the
file's own state, for their compiled code trusts it: types are numbers, buffers are checked against
shapes, sparse matrices against their columns.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.graph_batch import checked_csr
from tacit.errors import DataError

_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


def load_plain(path: Path, *, encoding: str) -> Any:
    """Numbers, texts, lists, dictionaries, numeric arrays and CSR matrices of a pickle.

    Parameters
    ----------
    encoding : of the byte strings of Python 2, as in `pickle.load`.

    Raises
    ------
    DataError : the file asks for anything else, or is damaged.
    """
    try:
        data = path.read_bytes()
        _check_memo(data)
        return _plain(_Unpickler(io.BytesIO(data), encoding=encoding).load(), path.name)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} cannot be used ({type(error).__name__}: {error}).") from error


def _check_memo(data: bytes) -> None:
    """The unpickler makes its memo as long as the largest position in the file says."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name.endswith("PUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError(f"memo position {argument} in {len(data)} bytes: refused")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value.encode("latin1") if isinstance(value, str) else bytes(memoryview(value))


class _Type:
    """For `numpy.dtype`: booleans, integers and floats."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not _NUMBERS.fullmatch(_text(code)):
            raise pickle.UnpicklingError(f"an array of {_text(code)!r}, which is refused")
        self.dtype = np.dtype(_text(code))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if _text(state[1]) in "<>":
            self.dtype = self.dtype.newbyteorder(_text(state[1]))  # type: ignore[arg-type]


class _Array:
    """For `numpy.ndarray`."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        flat = np.frombuffer(_bytes(raw), kind.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Csr:
    """For `scipy.sparse.csr_matrix`."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(raw: Any, kind: _Type, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", raw))
    return array


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r}, which is refused")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _lists(*_: Any) -> dict[Any, Any]:
    return {}


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    ("collections", "defaultdict"): _lists,
    **{(module, "list"): list for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    ("scipy.sparse.csr", "csr_matrix"): _Csr,
    ("scipy.sparse._csr", "csr_matrix"): _Csr,
    **{(f"numpy.{c}.multiarray", "_reconstruct"): _reconstruct for c in ("core", "_core")},
    **{(f"numpy.{c}.numeric", "_frombuffer"): _frombuffer for c in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return _STAND_INS[module, name]


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(part, name) for key, part in value.items()}
    if isinstance(value, _Csr):
        state = value.state
        shape = state["_shape"] if "_shape" in state else state["shape"]
        parts = [state[key].value for key in ("data", "indices", "indptr")]
        return checked_csr([*parts, shape], name)
    return value
