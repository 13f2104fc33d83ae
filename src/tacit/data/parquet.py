"""`parquet:FILE`: images in a column of a table.

The image column is found by its type: a struct with a `bytes` field (as Hugging Face `datasets`
writes it), binary, or lists of pixel values; the label column by its name. Where that is not
unique, ``parquet:FILE#image=COLUMN,label=COLUMN`` says which. Paths inside the table are never
opened.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tacit.data.arrays import as_images
from tacit.data.encoded import Encoded, content_key, file_key
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_encoded, from_pixels
from tacit.errors import DataError, did_you_mean
from tacit.untrusted import refuse_bomb

IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "bytes", "data", "pixels", "x")
LABEL_NAMES = ("label", "labels", "class", "target")
GROUPS_IN_MEMORY = 2**30  # bytes of encoded row groups that a reader keeps


class ParquetReader:
    """Items are rows; reads whole row groups and keeps the last ones."""

    def __init__(self, path: Path, column: str, starts: np.ndarray) -> None:
        self.path, self.column, self.starts = path, column, starts
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, pa.Array] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[Path, str, np.ndarray]]:
        return ParquetReader, (self.path, self.column, self.starts)

    def __call__(self, items: Sequence[int]) -> list[bytes | Exception]:
        return [self._read(int(item)) for item in items]

    def _read(self, item: int) -> bytes | Exception:
        group = int(np.searchsorted(self.starts, item, side="right")) - 1
        try:
            value = self._group(group)[item - int(self.starts[group])].as_py()
        except (OSError, pa.ArrowException) as error:
            return error
        return value if value is not None else ValueError("the row has no image bytes")

    def _group(self, group: int) -> pa.Array:
        with self._lock:
            if group not in self._groups:
                column = pq.ParquetFile(self.path).read_row_group(group, [self.column]).column(0)
                if pa.types.is_struct(column.type):
                    column = pa.chunked_array(
                        [chunk.field("bytes") for chunk in column.chunks], pa.binary()
                    )
                self._groups[group] = column
                while len(self._groups) > 1 and self._bytes() > GROUPS_IN_MEMORY:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return self._groups[group]

    def _bytes(self) -> int:
        return sum(column.nbytes for column in self._groups.values())


def open_parquet(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open ``parquet:FILE`` or ``parquet:FILE#image=COLUMN,label=COLUMN``."""
    if not argument:
        raise DataError("parquet needs a file: parquet:FILE.")
    file = argument
    columns: dict[str, str] = {"image": "", "label": ""}
    if "#" in argument and not Path(argument).expanduser().exists():
        file, _, fragment = argument.rpartition("#")
        for part in fragment.split(","):
            role, equals, column = part.partition("=")
            if role not in columns or not equals:
                raise DataError(f"'#{fragment}' is not of the form #image=COLUMN,label=COLUMN.")
            columns[role] = column
    path = Path(file).expanduser()
    table = open_table(
        path, options, name=f"parquet:{path.name}", image=columns["image"], label=columns["label"]
    )
    return table.split(options.split)


def open_table(
    path: Path,
    options: OpenOptions,
    *,
    name: str,
    image: str = "",
    label: str = "",
    class_names: list[str] | None = None,
) -> ImageSource:
    """All images of one parquet file, whatever `options.split` says."""
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        image = _column(schema, image, path) if image else _image_column(schema, path)
        labelled = _column(schema, label, path) if label else _label_column(schema, image)
        if file.metadata.num_rows == 0:
            raise DataError(f"{path} has no rows.")
        _refuse_bomb(path, file)
        labels, found_names = _labels(path, labelled, schema)
        class_names = class_names or found_names
        if _is_list(schema.field(image).type):
            images = _from_lists(pq.read_table(path, columns=[image]).column(0), path, image)
            pixels = as_images(images, name)
            return from_pixels(name, pixels, labels, class_names, image_size=options.image_size)
        key = content_key((*file_key(path), image))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a parquet file ({error}).") from error
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    encoded = Encoded(
        name=name,
        key=key,
        items=[f"row {row}" for row in range(file.metadata.num_rows)],
        read=ParquetReader(path, image, np.cumsum([0, *rows[:-1]])),
        labels=labels,
        class_names=class_names,
    )
    return from_encoded(encoded, options)


def _refuse_bomb(path: Path, file: pq.ParquetFile) -> None:
    """Runs and dictionaries hold any number of rows in a few bytes; an image is not a few bytes."""
    size, about = path.stat().st_size, file.metadata
    if about.num_rows > size:
        raise DataError(
            f"{path} is a possible decompression bomb: {about.num_rows:,} rows in {size:,} bytes."
        )
    columns = [
        about.row_group(group).column(column)
        for group in range(about.num_row_groups)
        for column in range(about.num_columns)
    ]
    unpacked = sum(max(c.total_uncompressed_size, c.num_values) for c in columns)
    refuse_bomb(str(path), unpacked, size, "Or write it without compression and dictionaries.")


def _column(schema: pa.Schema, name: str, path: Path) -> str:
    if name not in schema.names:
        raise DataError(
            f"{path} has no column '{name}'.{did_you_mean(name, schema.names)} "
            f"It has: {', '.join(schema.names)}."
        )
    return name


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_image_struct(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    return any(field.name == "bytes" and _is_binary(field.type) for field in kind)


def _image_column(schema: pa.Schema, path: Path) -> str:
    for fits in (_is_image_struct, _is_binary, _is_list):
        names = [field.name for field in schema if fits(field.type)]
        named = [name for name in names if name.lower() in IMAGE_NAMES]
        if len(names) == 1 or len(named) == 1:
            return named[0] if named else names[0]
        if names:
            raise DataError(
                f"{path} has several columns that could be the images: {', '.join(names)}. "
                f"Say which: parquet:{path}#image={names[0]}."
            )
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise DataError(
        f"{path} has no column of images (a struct with bytes, binary, or lists of pixels). "
        f"It has: {columns}."
    )


def _label_column(schema: pa.Schema, image: str) -> str | None:
    lower = {name.lower(): name for name in schema.names if name != image}
    return next((lower[name] for name in LABEL_NAMES if name in lower), None)


def _labels(
    path: Path, column: str | None, schema: pa.Schema
) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels as int64 (-1 where missing), and the names of the classes where known."""
    if column is None:
        return None, None
    values = pq.read_table(path, columns=[column]).column(0)
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        values, kind = values.cast(pa.int64()), pa.int64()
    if pa.types.is_integer(kind):
        return values.cast(pa.int64()).fill_null(-1).to_numpy(), _class_names(schema, column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = values.to_pylist()
        names = sorted({text for text in texts if text is not None})
        number = {name: index for index, name in enumerate(names)}
        return np.array([number.get(text, -1) for text in texts], np.int64), names
    raise DataError(f"{path}: labels in column '{column}' must be integers or texts, not {kind}.")


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """From the metadata that the `datasets` library writes."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _from_lists(column: pa.ChunkedArray, path: Path, name: str) -> np.ndarray:
    """Nested lists of equal lengths -> array; flat lists are square, planes after each other."""
    array, shape = column.combine_chunks(), [len(column)]
    while _is_list(array.type):
        if array.null_count:
            raise DataError(f"{path}: column '{name}' has rows without an image.")
        lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise DataError(
                f"{path}: the images in column '{name}' have differing sizes. "
                "Bring them to one size, or store them encoded (PNG bytes)."
            )
        shape.append(int(lengths[0]))
        array = array.flatten()
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise DataError(f"{path}: column '{name}' has lists of {array.type}, not of pixel values.")
    values = array.to_numpy(zero_copy_only=False).reshape(shape)
    if values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= 255:
        values = values.astype(np.uint8)  # lists often lose the width of their numbers
    if values.ndim == 2:
        for channels in (1, 3):
            side = round((shape[1] / channels) ** 0.5)
            if channels * side * side == shape[1]:
                return values.reshape(-1, *((channels,) if channels > 1 else ()), side, side)
    return values
