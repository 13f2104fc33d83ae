"""Recordings in tables: a column a region, or one value a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.fmri_recordings import Recordings, subject_of
from tacit.data.table_text import open_table_text
from tacit.errors import DataError

ABOUT = ("subject", "recording", "label")  # columns of a table of many recordings
LONG = ("region", "time", "value")


def _read_table(path: Path) -> dict[str, np.ndarray]:
    """Columns of a CSV file by name.

    A file whose first row is numbers has no header, unless they are 1, 2, 3 ... or 0, 1, 2 ...
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        with open_table_text(path) as text:
            first = text.readline().decode("utf-8-sig").strip().split(",")
        counted = any(first == [str(i + k) for i in range(len(first))] for k in (0, 1))
        headless = not counted and all(_is_number(cell) for cell in first)
        read = csv.ReadOptions(autogenerate_column_names=headless)
        with open_table_text(path) as text:
            table = csv.read_csv(text, read_options=read)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a table of comma-separated columns ({error})."
        ) from error
    if len(set(table.column_names)) != table.num_columns:
        raise DataError(f"{path.name}: two columns have the same name.")
    return {name: column.to_numpy() for name, column in zip(table.column_names, table.columns)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv(path: Path) -> Recordings:
    """One recording, or many with a column `subject`; see `open_fmri`.

    Raises
    ------
    DataError : not a table, not numbers, or incomplete.
    """
    table = _read_table(path)
    if "subject" in table and all(name in table for name in LONG):
        return _from_long(table, path)
    regions = [name for name in table if name not in (*ABOUT, "time")]
    values = _numbers(table, regions, path)
    if "subject" not in table:
        stray = [name for name in ABOUT if name in table]
        if stray:
            raise DataError(
                f"{path.name}: a column '{stray[0]}' needs a column 'subject' beside it."
            )
        return Recordings([values.T], subjects=[subject_of(path)], regions=regions)
    which, firsts = _recordings(table)
    order = (
        np.argsort(_time(table, path), kind="stable") if "time" in table else np.arange(len(which))
    )
    parts = [values[order[which[order] == number]].T for number in range(len(firsts))]
    return Recordings(parts, regions=regions, **_about(table, firsts))


def _from_long(table: dict[str, np.ndarray], path: Path) -> Recordings:
    """One row a recording, region and time."""
    which, firsts = _recordings(table)
    names, region = np.unique(table["region"].astype(str), return_inverse=True)
    if table["region"].dtype.kind in "iu":  # 10 after 9, not after 1
        numbers, region = np.unique(table["region"], return_inverse=True)
        names = numbers.astype(str)
    value, time = _numbers(table, ["value"], path)[:, 0], _time(table, path)
    series = []
    for number in range(len(firsts)):
        rows = np.flatnonzero(which == number)
        rows = rows[np.lexsort((time[rows], region[rows]))]
        times = len(np.unique(time[rows]))
        pairs = np.unique(np.stack([region[rows], time[rows]]), axis=1).shape[1]
        if len(rows) != len(names) * times or pairs != len(rows):
            raise DataError(
                f"{path.name}: recording {number} has {len(rows)} values for {len(names)} regions "
                f"and {times} times; each region needs one value at each time."
            )
        series.append(value[rows].reshape(len(names), times))
    return Recordings(series, regions=names.tolist(), **_about(table, firsts))


def _recordings(table: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The recording of every row, numbered by first appearance, and its first row."""
    keys = [table[name].astype(str) for name in ("subject", "recording") if name in table]
    _, first, which = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[which.reshape(-1)], np.sort(first)


def _about(table: dict[str, np.ndarray], firsts: np.ndarray) -> dict[str, Any]:
    labels = table["label"][firsts] if "label" in table else None
    if labels is not None and labels.dtype == object:
        labels = labels.astype(str)
    return {"subjects": table["subject"][firsts].tolist(), "labels": labels}


def _time(table: dict[str, np.ndarray], path: Path) -> np.ndarray:
    return _numbers(table, ["time"], path)[:, 0]


def _numbers(table: dict[str, np.ndarray], names: list[str], path: Path) -> np.ndarray:
    """Columns as float64 (rows, columns); empty cells are NaN, which `FMRISource` refuses."""
    for name in names:
        if table[name].dtype.kind not in "buif":
            raise DataError(
                f"{path.name}: the column '{name}' has values that are not numbers. Columns of a "
                f"table of recordings: {', '.join(ABOUT)}, time, and regions."
            )
    if not names:
        raise DataError(f"{path.name}: there are no columns of regions in it.")
    return np.stack([table[name] for name in names], 1).astype(np.float64)
