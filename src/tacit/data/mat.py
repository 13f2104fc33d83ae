"""MATLAB files, read by scipy in a process of its own: damaged ones can crash its compiled code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tacit.data import mat_child
from tacit.data.npz import Npz
from tacit.errors import DataError

SECONDS = 600


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The numeric arrays of a file by name; cell arrays are 2-D arrays of arrays.

    A cell that holds no numbers is an empty array.

    Raises
    ------
    DataError : missing, damaged, or a MATLAB 7.3 file.
    """
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    with tempfile.TemporaryDirectory(prefix="tacit-mat-") as folder:
        target = Path(folder) / "out.npz"
        command = [sys.executable, "-P", mat_child.__file__, os.path.abspath(path), str(target)]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=SECONDS, env={**os.environ, **threads}
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{path}: reading it took more than {SECONDS} s.") from error
        if done.returncode != 0:
            raise DataError(_why(path, done))
        with Npz(target) as archive:
            return _arrays(archive)


def _why(path: Path, done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = said[-1] if said and done.returncode > 0 else f"its reader crashed: {-done.returncode}"
    if "NotImplementedError" in reason:
        return f"{path} is a MATLAB 7.3 file; save it with -v7, or as .npz."
    return f"{path} cannot be read as a MATLAB file ({reason})."


def _arrays(archive: Npz) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for key in archive.files:
        kind, _, rest = key.partition("/")
        if kind == "array":
            found[rest] = archive[key]
        elif kind == "cells":
            cells = np.empty(tuple(archive[key]), object)
            for row, column in np.ndindex(*cells.shape):
                own = f"cell/{row}/{column}/{rest}"
                cells[row, column] = archive[own] if own in archive else np.empty((0, 0))
            found[rest] = cells
    return found
