"""`photos`: small real images that need no download.

32-pixel greyscale patches of the twenty photographs that scikit-image and scikit-learn ship
inside their wheels. Train patches come from the left 70 % of each photograph's columns and test
patches from the right 30 %, so no pixel is in both. Each patch is standardised, so that its
brightness and contrast say nothing about the photograph it comes from; the label, meant for
evaluation only, is the photograph.

Sampling. Patches lie on a grid of 8 pixels at native resolution (neighbours overlap, but only
within one side of the cut). A nearly constant patch has no meaningful standardisation (it would
be amplified quantisation noise), so patches with a standard deviation below 2 grey levels of 255
are left out. Of what remains, at most 600 train and 100 test patches per photograph are kept,
evenly spaced along the grid. No random number is involved.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_pixels
from tacit.errors import DataError

PATCH = 32
STRIDE = 8
MIN_STD = 2  # grey levels out of 255
TRAIN_SHARE = 0.7
PATCHES_PER_PHOTO = {"train": 600, "test": 100}
CLIP = 3.0  # standard deviations that the uint8 range covers on each side of the mean

# (class name, package, file inside it); all are in the wheels, none is downloaded.
PHOTOS: tuple[tuple[str, str, str], ...] = (
    ("astronaut", "skimage", "data/astronaut.png"),
    ("brick", "skimage", "data/brick.png"),
    ("camera", "skimage", "data/camera.png"),
    ("cell", "skimage", "data/cell.png"),
    ("chelsea", "skimage", "data/chelsea.png"),
    ("clock_motion", "skimage", "data/clock_motion.png"),
    ("coffee", "skimage", "data/coffee.png"),
    ("coins", "skimage", "data/coins.png"),
    ("grass", "skimage", "data/grass.png"),
    ("gravel", "skimage", "data/gravel.png"),
    ("hubble", "skimage", "data/hubble_deep_field.jpg"),
    ("ihc", "skimage", "data/ihc.png"),
    ("moon", "skimage", "data/moon.png"),
    ("motorcycle_left", "skimage", "data/motorcycle_left.png"),
    ("page", "skimage", "data/page.png"),
    ("retina", "skimage", "data/retina.jpg"),
    ("rocket", "skimage", "data/rocket.jpg"),
    ("text", "skimage", "data/text.png"),
    ("china", "sklearn", "datasets/images/china.jpg"),
    ("flower", "sklearn", "datasets/images/flower.jpg"),
)


def load_photos(split: str = "train") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Patches of one side of the photographs.

    Each patch x is standardised and mapped to uint8 by one fixed affine map,
    ``u = clip(round(127.5 + 127.5 / 3 * (x - mean(x)) / std(x)), 0, 255)``.

    Parameters
    ----------
    split : {"train", "test"}
        Left 70 % or right 30 % of each photograph.

    Returns
    -------
    images : uint8 array (N, 1, 32, 32)
    labels : int64 array (N,)
        Index of the photograph.
    names : list of str
        Name of each photograph.

    Raises
    ------
    DataError
        If the split is unknown or a photograph is missing from the installed packages.

    Examples
    --------
    >>> images, labels, names = load_photos("test")
    >>> images.shape[1:], images.dtype.name, len(names)
    ((1, 32, 32), 'uint8', 20)
    """
    if split not in PATCHES_PER_PHOTO:
        raise DataError(f"photos has the splits 'train' and 'test', not '{split}'.")
    images, labels = _load(split)
    return images, labels, [name for name, _, _ in PHOTOS]


@lru_cache(maxsize=2)
def _load(split: str) -> tuple[np.ndarray, np.ndarray]:
    selected = [_patches(_grey(name, package, file), split) for name, package, file in PHOTOS]
    labels = np.repeat(np.arange(len(PHOTOS), dtype=np.int64), [len(p) for p in selected])
    images = _standardise(np.concatenate(selected))[:, None]
    images.flags.writeable = labels.flags.writeable = False  # shared by every caller
    return images, labels


def _grey(name: str, package: str, file: str) -> np.ndarray:
    spec = importlib.util.find_spec(package)  # finds the folder without importing the package
    if spec is None or spec.origin is None:
        raise DataError(f"photos needs the package '{package}', which is not installed.")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise DataError(
            f"photos: '{name}' is missing from the installed {package} ({path}). "
            "Reinstall scikit-image>=0.22 and scikit-learn>=1.4 from their wheels."
        )
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _patches(photo: np.ndarray, split: str) -> np.ndarray:
    """(H, W) uint8 -> (n, 32, 32) uint8: the kept grid patches of one side."""
    cut = int(photo.shape[1] * TRAIN_SHARE)
    side = photo[:, :cut] if split == "train" else photo[:, cut:]
    windows = np.lib.stride_tricks.sliding_window_view(side, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    # Integer sums over windows make the selection exact, hence equal on every machine.
    total, square = _window_sums(side.astype(np.int64)), _window_sums(side.astype(np.int64) ** 2)
    area = PATCH * PATCH
    keep = np.argwhere(area * square - total**2 >= (MIN_STD * area) ** 2)
    limit = PATCHES_PER_PHOTO[split]
    if len(keep) > limit:
        keep = keep[np.arange(limit) * (len(keep) - 1) // (limit - 1)]
    return windows[keep[:, 0], keep[:, 1]]


def _window_sums(values: np.ndarray) -> np.ndarray:
    integral = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    p = PATCH
    sums = integral[p:, p:] - integral[:-p, p:] - integral[p:, :-p] + integral[:-p, :-p]
    return sums[::STRIDE, ::STRIDE]


def _standardise(patches: np.ndarray) -> np.ndarray:
    x = patches.reshape(len(patches), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= x.std(axis=1, keepdims=True)
    return (
        np.clip(np.rint(127.5 + 127.5 / CLIP * x), 0, 255).astype(np.uint8).reshape(patches.shape)
    )


def open_photos(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open ``photos``; it has a test split of its own, and "all" is the train split."""
    if argument:
        raise DataError(f"photos takes no argument, not '{argument}'.")
    images, labels, names = load_photos("test" if options.split == "test" else "train")
    return from_pixels("photos", images, labels, names, image_size=options.image_size)
