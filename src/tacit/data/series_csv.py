"""`csv:FILE`: time series in a table, one a row (wide) or one value a row and more (long)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from tacit.data.series import SeriesSource
from tacit.data.series_assemble import Recording, assemble
from tacit.data.series_options import samples, split_spec
from tacit.data.series_times import even_step, one_step, rate_of, read_times
from tacit.data.spec import OpenOptions
from tacit.data.table_text import open_table_text
from tacit.errors import DataError, did_you_mean

OWN = ("layout", "id", "time", "channel", "value", "label", "group")
LAYOUTS = ("wide", "long", "recording")
NAMES = {
    "id": ("id", "case", "case_id", "series_id"),
    "time": ("time", "timestamp", "t"),
    "label": ("label", "class", "target"),
    "group": ("group", "subject"),
}


class Columns(NamedTuple):
    """Names of the columns that are not values; empty where there is none."""

    id: str
    time: str
    channel: str
    value: str
    label: str
    group: str


def open_csv(argument: str | None, options: OpenOptions) -> SeriesSource:
    """Open ``csv:FILE[#option=value,...]``.

    - ``layout=wide``: a row is a series of one channel, its columns the times in their order.
    - ``layout=long``: a row is a time of a series; ``id=COLUMN`` tells which. Every other numeric
      column is a channel; or, with ``channel=COLUMN,value=COLUMN``, a row is one value of one
      channel.
    - ``layout=recording``: a row is a time of the one recording, a column a channel; it is cut by
      ``window=``.

    Without `layout`: long where there is a column `id` (or case, case_id, series_id) or one is
    named, else wide. `time` (evenly spaced; rows are sorted by it), `label` (class, target) and
    `group` (subject) are found by these names or named. Times that are dates give the sampling
    rate; for numbers, whose unit nobody knows, `rate` says it, and must fit them as seconds, as
    milli-, micro- or nanoseconds, or as sample numbers. The other options are `SeriesOptions`.
    Empty cells are missing values.
    """
    if not argument:
        raise DataError("csv needs a file: csv:FILE.")
    file, common, own = split_spec(argument, "csv", own=OWN)
    path = Path(file).expanduser()
    table = _read(path)
    name = f"csv:{path.name}"
    layout = own.get("layout", "")
    if layout and layout not in LAYOUTS:
        raise DataError(
            f"{name}: layout={layout} is not one of {', '.join(LAYOUTS)}."
            f"{did_you_mean(layout, LAYOUTS)}"
        )
    columns = _columns(table, own, name)
    if not layout and columns.time and not columns.id:
        raise DataError(
            f"{name} has times in its column '{columns.time}', so a row is not a series: write "
            "layout=recording with window= for one recording, or id=COLUMN for several."
        )
    layout = layout or ("long" if columns.id else "wide")
    rate = None
    if layout == "long" and not columns.id:
        raise DataError(
            f"{name}: a long table needs the column that tells its series apart: id=COLUMN. For "
            "one recording write layout=recording."
        )
    if layout == "recording" and common.window is None:
        raise DataError(f"{name}: one recording must be cut into windows; give window=.")
    labels, class_names = _labels(table, columns.label, name)
    groups = _codes(table, columns.group)[0] if columns.group else None
    if layout == "wide":
        times = [c for c in table.column_names if c not in columns]
        least = 2  # or the window, at this rate
        if common.window is not None and common.resample is None and common.unequal != "pad":
            least = samples(common.window, common.rate, name, "window")
        if len(times) < least:
            raise DataError(
                f"{name}: a row has {len(times)} values, but a series at least {least}. If rows "
                "are times, write layout=recording with window= for one recording, or id=COLUMN "
                "for several; else use a shorter window, or unequal=pad."
            )
        wide = _values(table, times, name)
        recordings = [Recording(row[None], f"{name}, row {i + 1}") for i, row in enumerate(wide)]
        parts, channels = [np.array([i]) for i in range(len(wide))], None
    else:
        recordings, parts, channels, step = _long(table, columns, layout, name)
        dates = bool(columns.time) and pa.types.is_timestamp(table[columns.time].type)
        rate = rate_of(step, dates, common.rate, f"{name}, column '{columns.time}'")
    for recording, rows in zip(recordings, parts):
        recording.label = _label_of(labels, rows, layout, recording.name)
        recording.group = None if groups is None else _only(groups[rows], "group", recording.name)
    source = assemble(
        name,
        recordings,
        common,
        rate=rate,
        class_names=class_names,
        channel_names=channels,
        labelled=labels is not None,
    )
    return source.split(options.split)


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    try:
        with open_table_text(path) as file:
            table = pacsv.read_csv(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as a table with a header line ({error})."
        ) from error
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows.")
    if len(set(table.column_names)) < table.num_columns:
        raise DataError(f"{path} has several columns of one name; give each its own.")
    return table


def _columns(table: pa.Table, own: dict[str, str], name: str) -> Columns:
    lower = {column.lower(): column for column in table.column_names}
    found = {}
    for role in Columns._fields:
        column = own.get(role, "")
        if column and column not in table.column_names:
            raise DataError(
                f"{name} has no column '{column}'.{did_you_mean(column, table.column_names)} "
                f"It has: {', '.join(table.column_names[:20])}."
            )
        known = (lower[text] for text in NAMES.get(role, ()) if text in lower)
        found[role] = column or next(known, "")
    if bool(found["channel"]) != bool(found["value"]):
        raise DataError(f"{name}: channel= and value= go together; only one is given.")
    return Columns(**found)


def _values(table: pa.Table, columns: list[str], name: str) -> np.ndarray:
    """(rows, columns) float64, NaN where a cell is empty."""
    if not columns:
        raise DataError(f"{name} has no column of values.")
    for column in columns:
        kind = table.schema.field(column).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise DataError(
                f"{name}: column '{column}' holds {kind}, not numbers. If it is a label, an id or "
                f"a time, say so: label={column}, id={column} or time={column}."
            )
    return np.column_stack([_floats(table, column) for column in columns])


def _floats(table: pa.Table, column: str) -> np.ndarray:
    return table[column].cast(pa.float64()).to_numpy().astype(float)


def _codes(table: pa.Table, column: str) -> tuple[np.ndarray, list[str]]:
    """Values of any type as 0, 1 ... in the order of their first row, and their texts."""
    encoded = table[column].combine_chunks().dictionary_encode()
    texts = [str(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), texts


def _labels(table: pa.Table, column: str, name: str) -> tuple[np.ndarray | None, list[str] | None]:
    """Integers as they are, texts as places in their sorted list; -1 where a cell is empty."""
    if not column:
        return None, None
    kind = table.schema.field(column).type
    if pa.types.is_integer(kind):
        return table[column].fill_null(-1).to_numpy().astype(np.int64), None
    if pa.types.is_floating(kind):
        raise DataError(f"{name}: labels in column '{column}' must be integers or texts.")
    codes, texts = _codes(table, column)
    names = sorted(texts)
    place = np.array([names.index(text) for text in texts] + [-1])
    return place[codes], names


def _long(
    table: pa.Table, columns: Columns, layout: str, name: str
) -> tuple[list[Recording], list[np.ndarray], list[str], float | None]:
    """Series, the rows each is made of, the names of the channels, and the step of their times."""
    rows = table.num_rows
    series, ids = _codes(table, columns.id) if layout == "long" else (np.zeros(rows, int), [""])
    if (series < 0).any():
        raise DataError(f"{name}: row {int(np.argmin(series)) + 1} has no {columns.id}.")
    channel, channels = np.zeros(rows, int), [c for c in table.column_names if c not in columns]
    if columns.value:
        channel, channels = _codes(table, columns.channel)
        values = _values(table, [columns.value], name)
    else:
        values = _values(table, channels, name)
    time = read_times(table, columns.time, name) if columns.time else np.arange(rows, dtype=float)
    order = np.lexsort((time, channel, series))
    starts = np.flatnonzero(np.diff(series[order], prepend=-1))
    recordings, parts, steps = [], [], []
    for number, own in enumerate(np.split(order, starts[1:])):
        what = f"{name}, {columns.id} {ids[number]}" if layout == "long" else name
        if columns.value:
            pieces = np.split(own, np.flatnonzero(np.diff(channel[own])) + 1)
            if len({len(piece) for piece in pieces}) > 1 or len(pieces) < len(channels):
                raise DataError(f"{what}: its channels have different numbers of values.")
            steps += even_step(time[pieces[0]], columns.time, what)
            recordings.append(Recording(np.stack([values[p, 0] for p in pieces]), what))
        else:
            steps += even_step(time[own], columns.time, what)
            recordings.append(Recording(values[own].T, what))
        parts.append(own)
    return recordings, parts, channels, one_step(steps, columns.time, name)


def _label_of(
    labels: np.ndarray | None, rows: np.ndarray, layout: str, what: str
) -> int | np.ndarray:
    if labels is None:
        return -1
    return labels[rows] if layout == "recording" else _only(labels[rows], "label", what)


def _only(values: np.ndarray, role: str, what: str) -> int:
    found = np.unique(values)
    if len(found) > 1:
        raise DataError(f"{what} has {len(found)} different values in the column of its {role}.")
    return int(found[0])
