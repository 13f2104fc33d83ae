"""`ImageSource`: what every image modality hands to the views.

A source is a list of rows into `Pixels` (anything that reads rows of one shape: an array, a
memory-mapped file, files decoded on the fly), with labels where there are any. Labels are for
evaluation only; no method reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from tacit.errors import DataError

Split = Literal["all", "train", "test"]
TEST_SHARE = 0.2
STATISTICS_SAMPLES = 10_000
STATISTICS_PIXELS = 2e8  # fewer samples are enough where each has many pixels


class Pixels(Protocol):
    """Rows of uint8 images of one shape (C, H, W)."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 -> contiguous uint8 (n, C, H, W), a new array."""
        ...


class ArrayPixels:
    """Images in memory, uint8 (N, C, H, W)."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = np.ascontiguousarray(images)
        self.shape: tuple[int, int, int] = images.shape[1:]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._images[rows]


class MappedPixels:
    """Images in a file of raw bytes, memory-mapped; pickles as its path."""

    def __init__(self, path: Path, count: int, shape: tuple[int, int, int]) -> None:
        self.path, self.shape, self._count = path, shape, count
        # A plain ndarray on the mapping: indexing a np.memmap itself costs several times more.
        self._images = np.asarray(np.memmap(path, np.uint8, "r", shape=(count, *shape)))

    def __len__(self) -> int:
        return self._count

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._images[rows]

    def __reduce__(self) -> tuple[type, tuple[Path, int, tuple[int, int, int]]]:
        return MappedPixels, (self.path, self._count, self.shape)


class ImageSource:
    """Images of one shape, with optional labels.

    Attributes
    ----------
    name : str
        How reports call it, e.g. ``"cifar10"``.
    modality : str
        ``"image"``.
    shape : (C, H, W)
    labels : int64 array (N,) or None
        For evaluation only; -1 where a sample has none.
    class_names : list of str or None
    skipped : list of (what, why)
        Files or rows that could not be read.
    fingerprint : str
        Hash of the pixels and labels: equal data has equal fingerprints, wherever it lies.

    Examples
    --------
    >>> from tacit.data import open_source
    >>> source = open_source("digits", split="test")
    >>> source.shape, source.batch([0, 1]).shape
    ((1, 8, 8), torch.Size([2, 1, 8, 8]))
    """

    modality = "image"

    def __init__(
        self,
        name: str,
        pixels: Pixels,
        *,
        fingerprint: str,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        skipped: list[tuple[str, str]] | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self.shape: tuple[int, int, int] = tuple(pixels.shape)  # type: ignore[assignment]
        self.labels = labels
        self.class_names = class_names
        self.skipped = list(skipped or [])
        self.fingerprint = fingerprint
        self._pixels = pixels
        self._rows = rows
        self._statistics: tuple[list[float], list[float]] | None = None
        if labels is not None and len(labels) != len(self):
            raise DataError(f"{name}: {len(labels)} labels for {len(self)} images.")

    def __len__(self) -> int:
        return len(self._pixels if self._rows is None else self._rows)

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"ImageSource({self.name!r}, {len(self)} x {self.shape}{classes})"

    def batch(self, indices: np.ndarray | Tensor | Sequence[int]) -> Tensor:
        """Images at `indices`, in their order.

        Parameters
        ----------
        indices : integers (n,)
            Each in [0, len(self)).

        Returns
        -------
        uint8 Tensor (n, C, H, W)
            A copy: writing to it leaves the source as it is.

        Raises
        ------
        IndexError
            If an index is out of range or not an integer.
        """
        rows = _checked(indices, len(self), self.name)
        return torch.from_numpy(self._pixels.read(rows if self._rows is None else self._rows[rows]))

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, in [0, 1] units.

        From at most 10,000 evenly spaced samples (fewer for large images). A channel that never
        varies gets the standard deviation 1/255, so that normalising by it stays finite.
        """
        if self._statistics is None:
            channels, height, width = self.shape
            count = int(min(len(self), STATISTICS_SAMPLES, STATISTICS_PIXELS / (height * width)))
            chosen = np.linspace(0, len(self) - 1, max(count, 1)).astype(np.int64)
            total = np.zeros(channels)
            square = np.zeros(channels)
            for part in np.array_split(chosen, -(-len(chosen) // 256)):
                x = self.batch(part).transpose(0, 1).flatten(1).to(torch.float32)
                total += x.sum(1, dtype=torch.float64).numpy()
                square += (x * x).sum(1, dtype=torch.float64).numpy()
            pixels = len(chosen) * height * width
            mean = total / pixels
            std = np.sqrt(np.maximum(square / pixels - mean**2, 0)).clip(min=1)
            self._statistics = (mean / 255).tolist(), (std / 255).tolist()
        mean_list, std_list = self._statistics
        return list(mean_list), list(std_list)

    def subset(self, indices: np.ndarray | Tensor | Sequence[int]) -> ImageSource:
        """The same source with only the samples at `indices`, in their order."""
        chosen = _checked(indices, len(self), self.name)
        digest = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        digest.update(chosen.tobytes())
        return ImageSource(
            self.name,
            self._pixels,
            fingerprint=digest.hexdigest(),
            labels=None if self.labels is None else self.labels[chosen],
            class_names=self.class_names,
            skipped=self.skipped,
            rows=chosen if self._rows is None else self._rows[chosen],
        )

    def split(self, split: Split, *, test_share: float = TEST_SHARE) -> ImageSource:
        """A deterministic partition for data that has no test split of its own.

        Which samples are "test" depends on their position and on the length alone, so both sides
        are the same in every process and version. "all" is the source itself.

        >>> from tacit.data import open_source
        >>> source = open_source("digits")
        >>> len(source), len(source.split("train")), len(source.split("test"))
        (1797, 1438, 359)
        """
        if split == "all":
            return self
        held_out = _scattered(len(self), round(len(self) * test_share))
        chosen = np.flatnonzero(held_out if split == "test" else ~held_out)
        if len(chosen) == 0:
            raise DataError(
                f"{self.name}: {len(self)} samples are too few for a '{split}' split; "
                "give more images or use split='all'."
            )
        return self.subset(chosen)


def _checked(indices: np.ndarray | Tensor | Sequence[int], length: int, name: str) -> np.ndarray:
    array = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise IndexError(
            f"{name}: indices must be one dimension of integers, not {array.dtype} "
            f"of shape {array.shape}."
        )
    if array.size and (array.min() < 0 or array.max() >= length):
        raise IndexError(
            f"{name}: indices from {array.min()} to {array.max()} are outside [0, {length})."
        )
    return array.astype(np.int64)


def _scattered(length: int, count: int) -> np.ndarray:
    """Boolean (length,) with exactly `count` True at positions scattered by an integer hash.

    An explicit hash (splitmix64) because NumPy does not promise the same permutation in every
    version.
    """
    z = np.arange(1, length + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mask = np.zeros(length, bool)
    mask[np.argsort(z ^ (z >> np.uint64(31)), kind="stable")[:count]] = True
    return mask
