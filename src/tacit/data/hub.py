"""`hf:ORG/NAME`: a data set of the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.encoded import Encoded, content_key
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_encoded
from tacit.errors import DataError, MissingExtraError

TEST_NAMES = ("test", "validation", "val", "valid")
LABEL_NAMES = ("label", "labels", "class", "target", "fine_label")


class HubReader:
    """Items are rows of a `datasets.Dataset` whose image column is not decoded by it."""

    def __init__(self, rows: Any, column: str, allowed: list[Path]) -> None:
        self.rows, self.column, self.allowed = rows, column, allowed
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[Any, str, list[Path]]]:
        return HubReader, (self.rows, self.column, self.allowed)

    def __call__(self, items: Sequence[int]) -> list[bytes | Exception]:
        with self._lock:
            values = self.rows[[int(item) for item in items]][self.column]
        return [self._bytes(value) for value in values]

    def _bytes(self, value: dict[str, Any] | bytes | None) -> bytes | Exception:
        if value is None or isinstance(value, bytes):
            return ValueError("the row has no image") if value is None else value
        if value.get("bytes") is not None:
            return bytes(value["bytes"])
        try:
            path = Path(value["path"]).resolve(strict=True)
            # A table from others may name any file: only what the library downloaded is opened.
            if not any(path.is_relative_to(folder) for folder in self.allowed):
                return ValueError("the row names a file outside the download folder")
            return path.read_bytes()
        except (OSError, TypeError, KeyError, ValueError) as error:
            return error


def open_hub(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open ``hf:ORG/NAME``.

    Raises
    ------
    DataError
        If the data set cannot be loaded or has no image column.
    MissingExtraError
        If `datasets` is not installed.
    """
    if not argument:
        raise DataError("hf needs a name: hf:ORG/NAME.")
    return open_dataset(argument, options, name=f"hf:{argument}")


def open_dataset(repository: str, options: OpenOptions, *, name: str) -> ImageSource:
    """The wanted split of a hub data set; one without a test split is partitioned."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hub", f"'{name}'") from error
    try:
        splits = datasets.load_dataset(repository)
    except Exception as error:  # the library raises errors of a dozen packages
        raise DataError(
            f"{name}: '{repository}' cannot be loaded ({type(error).__name__}: {error}). "
            "Check the name and the network, or give a local copy."
        ) from error
    test = next((side for side in TEST_NAMES if side in splits), None)
    if "train" not in splits or test is None:
        whole = "train" if "train" in splits else next(iter(splits))
        return from_encoded(_encoded(splits[whole], name, datasets), options).split(options.split)
    train = _encoded(splits["train"], name, datasets)
    if options.split != "test":
        return from_encoded(train, options)
    return from_encoded(_encoded(splits[test], name, datasets), options, plan_like=train)


def _encoded(rows: Any, name: str, datasets: Any) -> Encoded:
    features = rows.features
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if not images:
        found = ", ".join(f"{column} ({kind})" for column, kind in features.items())
        raise DataError(f"{name}: no image column. It has: {found}.")
    column = images[0]
    labelled = [c for c, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    label = next((c for c in LABEL_NAMES if c in features), labelled[0] if labelled else None)
    rows = rows.cast_column(column, datasets.Image(decode=False))
    labels, class_names = None, None
    if label is not None:
        values = rows.with_format("arrow")[:].column(label)
        if str(values.type) in ("int64", "int32", "int16", "int8", "uint8", "bool"):
            labels = values.cast("int64").fill_null(-1).to_numpy()
            class_names = getattr(features[label], "names", None)
    allowed = [Path(datasets.config.HF_DATASETS_CACHE), Path(datasets.config.HF_CACHE_HOME)]
    return Encoded(
        name=name,
        key=content_key((name, rows._fingerprint, len(rows), column)),
        items=[f"row {row}" for row in range(len(rows))],
        read=HubReader(rows, column, [folder.resolve() for folder in allowed]),
        labels=None if labels is None else np.asarray(labels, np.int64),
        class_names=class_names,
    )
