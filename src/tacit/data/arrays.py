"""Arrays in memory, `npz:FILE` and `digits`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.data.base import Source
from tacit.data.npz import Npz
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_pixels
from tacit.errors import DataError

IMAGE_KEYS = ("images", "image", "x", "X", "data", "imgs", "img", "arr_0")
LABEL_KEYS = ("labels", "label", "y", "Y", "targets", "target", "arr_1")
CHANNELS = (1, 3)
TOLERANCE = 1e-6  # above 1 or below 0 in float images: rounding, not another range


def open_array(data: Any, options: OpenOptions, *, name: str = "array") -> ImageSource:
    """Images in memory, or a pair (images, labels).

    Parameters
    ----------
    data : numpy array or torch tensor, or a tuple (images, labels)
        (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels; uint8, or float in [0, 1].
        Where both 4-D readings fit, a tensor is (N, C, H, W) and an array (N, H, W, C).
    options : OpenOptions
    name : str
        What messages call it.

    Raises
    ------
    DataError
        If shape, type, range or values are not those of images.

    Examples
    --------
    >>> open_array(np.zeros((5, 8, 8, 3), np.uint8), OpenOptions(split="train")).shape
    (3, 8, 8)
    """
    labels = None
    if isinstance(data, tuple) and len(data) == 2:
        data, labels = data
    images = as_images(data, name)
    source = from_pixels(
        name, images, as_labels(labels, len(images), name), image_size=options.image_size
    )
    return source.split(options.split)


def as_images(data: Any, name: str) -> np.ndarray:
    """Anything array-like -> uint8 (N, C, H, W), or a DataError that says what is wrong."""
    tensor = isinstance(data, torch.Tensor)
    if isinstance(data, list | tuple):
        data = _stack(data, name)
    images = data.detach().cpu().numpy() if tensor else np.asarray(data)
    if images.dtype.kind not in "bufi":
        raise DataError(
            f"{name}: an array of {images.dtype} is not images. "
            "Give numbers: uint8 in 0..255 or float in 0..1, all images of one shape."
        )
    if images.ndim not in (3, 4):
        raise DataError(
            f"{name}: shape {images.shape} is not (N, H, W), (N, H, W, C) or (N, C, H, W)."
        )
    if 0 in images.shape:
        raise DataError(f"{name}: shape {images.shape} has no pixels.")
    return _as_uint8(_channels_first(images, tensor, name), name)


def _stack(data: Sequence[Any], name: str) -> np.ndarray:
    if not data:
        raise DataError(f"{name}: the list of images is empty.")
    arrays = [np.asarray(image) for image in data]
    for position, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{name}: image {position} has shape {array.shape} and image 0 has "
                f"{arrays[0].shape}. Bring all images to one size and number of channels."
            )
    return np.stack(arrays)


def _channels_first(images: np.ndarray, tensor: bool, name: str) -> np.ndarray:
    if images.ndim == 3:
        return images[:, None]
    first, last = images.shape[1] in CHANNELS, images.shape[3] in CHANNELS
    if not first and not last:
        raise DataError(
            f"{name}: in shape {images.shape} neither axis 1 nor axis 3 is 1 or 3 channels."
        )
    if first and (tensor or not last):
        return images
    return images.transpose(0, 3, 1, 2)


def _as_uint8(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype == bool:
        return np.ascontiguousarray(images).astype(np.uint8) * np.uint8(255)
    if images.dtype.kind in "ui":
        raise DataError(
            f"{name}: {images.dtype} images have no agreed range. "
            "Convert to uint8 in 0..255 or to float in 0..1."
        )
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 1024):
        part = images[start : start + 1024].astype(np.float32)
        bad = ~np.isfinite(part)
        if bad.any():
            position = start + int(np.flatnonzero(bad.any(axis=(1, 2, 3)))[0])
            raise DataError(
                f"{name}: image {position} has NaN or infinite values. Remove or repair it."
            )
        if part.min() < -TOLERANCE or part.max() > 1 + TOLERANCE:
            raise DataError(
                f"{name}: float images must be in 0..1, found {part.min():.4g}..{part.max():.4g}. "
                "Divide by 255 or convert to uint8; time series are a SeriesSource(name, values)."
            )
        result[start : start + 1024] = np.rint(part.clip(0, 1) * 255)
    return result


def as_labels(labels: Any, count: int, name: str) -> np.ndarray | None:
    """Integer labels (N,) int64, or None."""
    if labels is None:
        return None
    labels = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iub" or len(array) != count:
        raise DataError(
            f"{name}: labels must be {count} integers, not {array.dtype} of shape {array.shape}."
        )
    return array.astype(np.int64)


def npz_modality(argument: str) -> str:
    """ "series" where the file has an array named `series` or the spec names one, else "image"."""
    file, _, fragment = argument.partition("#")
    if "series=" in fragment:
        return "series"
    try:
        with Npz(Path(file).expanduser()) as archive:
            return "series" if "series" in archive else "image"
    except DataError:
        return "image"  # opening it says what is wrong


def open_npz(argument: str | None, options: OpenOptions) -> Source:
    """Open ``npz:FILE``: an array named `images` (or x, data) and perhaps `labels` (or y).

    A file with an array named `series`, or a spec with ``#series=NAME``, is time series
    (`tacit.data.series_npz`).

    Arrays named for a split (``x_train``, ``train_images``, ``y_test`` ...) become the splits.
    Object arrays, which would need pickle, are refused.
    """
    if not argument:
        raise DataError("npz needs a file: npz:FILE.")
    if npz_modality(argument) == "series":
        from tacit.data.series_npz import open_npz_series

        return open_npz_series(argument, options)
    path = Path(argument).expanduser()
    name = f"npz:{path.name}"
    with Npz(path) as archive:
        return _from_archive(archive, name, options)


def _from_archive(archive: Npz, name: str, options: OpenOptions) -> ImageSource:
    whole = _find(archive, IMAGE_KEYS)
    if whole:
        pair = (archive[whole], _get(archive, LABEL_KEYS))
        return open_array(pair, options, name=name)
    side = "test" if options.split == "test" else "train"
    images = _find(archive, _named(IMAGE_KEYS, side))
    if images is None:
        raise DataError(
            f"{name}: no array of images among {', '.join(archive.files) or 'nothing'}. "
            "Name it 'images' (and the labels 'labels'), or x_train, y_train, x_test, y_test."
        )
    pair = (archive[images], _get(archive, _named(LABEL_KEYS, side)))
    has_test = _find(archive, _named(IMAGE_KEYS, "test")) is not None
    whole_side = OpenOptions(image_size=options.image_size)
    source = open_array(pair, whole_side, name=name)
    return source if has_test else source.split(options.split)


def _named(keys: tuple[str, ...], side: str) -> tuple[str, ...]:
    return tuple(form for key in keys for form in (f"{key}_{side}", f"{side}_{key}"))


def _find(archive: Npz, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in archive.files), None)


def _get(archive: Npz, keys: tuple[str, ...]) -> np.ndarray | None:
    key = _find(archive, keys)
    return archive[key] if key else None


def open_digits(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open ``digits``: the 1,797 8 x 8 grey digits of scikit-learn, scaled from 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    if argument:
        raise DataError(f"digits takes no argument, not '{argument}'.")
    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    names = [str(digit) for digit in digits.target_names]
    labels = digits.target.astype(np.int64)
    source = from_pixels("digits", images, labels, names, image_size=options.image_size)
    return source.split(options.split)
