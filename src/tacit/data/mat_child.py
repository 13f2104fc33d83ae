"""Run as a script: the numbers of a MATLAB file as .npz. See `tacit.data.mat`."""

from __future__ import annotations

import os
import sys
from typing import Any

MEMORY = 4 * 2**30  # bytes that a reader may always use
PER_BYTE = 200  # and so many more for every byte of the file


def convert(source: str, target: str) -> None:
    """Arrays as `array/NAME`; a cell array as `cells/NAME`, its shape, and `cell/ROW/COL/NAME`."""
    import numpy as np
    from scipy.io import loadmat

    out: dict[str, Any] = {}
    for name, value in loadmat(source).items():
        if name.startswith("__") or not isinstance(value, np.ndarray):
            continue
        if value.dtype.kind in "buif":
            out[f"array/{name}"] = value
        elif value.dtype == object and np.atleast_2d(value).ndim == 2:
            cells = np.atleast_2d(value)
            out[f"cells/{name}"] = np.array(cells.shape)
            for (row, column), cell in np.ndenumerate(cells):
                if isinstance(cell, np.ndarray) and cell.dtype.kind in "buif":
                    out[f"cell/{row}/{column}/{name}"] = cell
    np.savez(target, **out)


def main() -> None:
    try:
        import resource

        limit = MEMORY + PER_BYTE * os.path.getsize(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, ValueError, OSError):  # no such limits on this system
        pass
    try:
        convert(sys.argv[1], sys.argv[2])
    except Exception as error:  # scipy raises what it meets in a damaged file
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
