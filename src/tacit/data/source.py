"""`ImageSource`: what every image modality hands to the views.

A source is a list of rows into `Pixels` (anything that reads rows of one shape: an array, a
memory-mapped file, files decoded on the fly), with labels where there are any. Labels are for
evaluation only; no method reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from tacit.data.base import Source
from tacit.errors import DataError

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


class ColourPixels:
    """Grey images as colour images: three equal channels."""

    def __init__(self, grey: Pixels) -> None:
        self._grey = grey
        self.shape: tuple[int, int, int] = (3, *grey.shape[1:])

    def __len__(self) -> int:
        return len(self._grey)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._grey.read(rows).repeat(3, axis=1)


class ImageSource(Source):
    """Images of one shape, with optional labels; a batch is uint8 (n, C, H, W).

    Attributes
    ----------
    shape : (C, H, W)

    Examples
    --------
    >>> from tacit.data import open_source
    >>> source = open_source("digits", split="test")
    >>> source.shape, source.batch([0, 1]).shape
    ((1, 8, 8), torch.Size([2, 1, 8, 8]))
    """

    modality: ClassVar[str] = "image"

    def __init__(
        self,
        name: str,
        pixels: Pixels,
        *,
        fingerprint: str,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        skipped: list[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(
            name,
            len(pixels),
            fingerprint=fingerprint,
            labels=labels,
            class_names=class_names,
            skipped=skipped,
        )
        self.shape: tuple[int, int, int] = tuple(pixels.shape)  # type: ignore[assignment]
        self._pixels = pixels
        self._statistics: tuple[list[float], list[float]] | None = None

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"ImageSource({self.name!r}, {len(self)} x {self.shape}{classes})"

    def _read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._pixels.read(rows))

    def subset(self, indices: np.ndarray | Tensor | Sequence[int]) -> ImageSource:
        """The same source with only the images at `indices`, in their order."""
        part = super().subset(indices)
        part._statistics = None
        return part

    def in_colour(self) -> ImageSource:
        """These grey images as three equal channels, which is what they look like in colour.

        >>> from tacit.data import open_source
        >>> open_source("digits").in_colour().batch([0]).shape
        torch.Size([1, 3, 8, 8])
        """
        if self.shape[0] != 1:
            raise DataError(f"{self.name}: images of {self.shape[0]} channels are not grey.")
        colour = copy.copy(self)
        colour._pixels, colour._statistics = ColourPixels(self._pixels), None
        colour.shape = colour._pixels.shape
        return colour

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
