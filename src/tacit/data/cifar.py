"""`cifar10` and `cifar10:PATH`.

PATH is a folder with ``train.parquet`` and ``test.parquet``, or with the original python batches
(``cifar-10-batches-py``). Without PATH: the folder ``cifar10`` below the environment variable
TACIT_DATA if that is set, else a download through the `datasets` library (extra `hub`).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tacit.data.hub import open_dataset
from tacit.data.parquet import open_table
from tacit.data.plain_pickle import load_plain
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_pixels
from tacit.errors import DataError

NAME = "cifar10"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def open_cifar10(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open CIFAR-10; it has a test split of its own, and "all" is the train split.

    Raises
    ------
    DataError
        If the folder has neither form of the data, or a file is damaged or unsafe.
    MissingExtraError
        If it has to be downloaded and `datasets` is not installed.
    """
    side = "test" if options.split == "test" else "train"
    folder = _folder(argument)
    if folder is None:
        return open_dataset("uoft-cs/cifar10", options, name=NAME)
    if not folder.is_dir():
        raise DataError(f"cifar10: the folder {folder} does not exist.")
    table = folder / f"{side}.parquet"
    if table.is_file():
        return open_table(table, options, name=NAME, class_names=CLASSES)
    for batches in (folder, folder / "cifar-10-batches-py"):
        if (batches / BATCHES[side][0]).is_file():
            images, labels = _load(batches, side)
            return from_pixels(NAME, images, labels, CLASSES, image_size=options.image_size)
    raise DataError(
        f"cifar10: {folder} has neither {side}.parquet nor the python batches "
        f"({BATCHES[side][0]} ...). Give the folder that has them: cifar10:PATH."
    )


def _folder(argument: str | None) -> Path | None:
    if argument:
        return Path(argument).expanduser()
    root = os.environ.get("TACIT_DATA")
    folder = Path(root).expanduser() / NAME if root else None
    return folder if folder is not None and folder.is_dir() else None


def _load(folder: Path, side: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [_load_batch(folder / batch) for batch in BATCHES[side]]
    images, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return images, labels


def _load_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = load_plain(path, encoding="bytes")
    try:
        data = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels"], np.int64)
        if data.dtype != np.uint8 or labels.shape != data.shape[:1]:
            raise ValueError(f"data of {data.dtype}, {data.shape}; labels of {labels.shape}")
        return data.reshape(-1, 3, 32, 32), labels
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"cifar10: {path} cannot be used ({type(error).__name__}: {error}). "
            "Unpack the original archive again."
        ) from error
