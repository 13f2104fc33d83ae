"""`Source`: what every modality hands to the views: samples by position, and labels apart."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from torch import Tensor

from tacit.errors import DataError

Split = Literal["all", "train", "test"]
TEST_SHARE = 0.2


class Source(ABC):
    """A list of samples of one modality, with optional labels.

    Labels are for evaluation only; a method that trains on some of them says so. A subclass holds
    the data, passes its length to `super().__init__` and writes `_read`.

    Attributes
    ----------
    name : how reports call it, e.g. "cifar10".
    modality : "image", "series", "graph", ...
    labels : int64 (N,), -1 where a sample has none; or None.
    class_names : names of the labels, or None.
    skipped : (what, why) of the files or rows that could not be read.
    fingerprint : hash of the content: equal data has equal fingerprints, wherever it lies.
    groups : int64 (N,), the subject or recording of each sample; `split` keeps a group whole.
    chunk : samples of one forward pass where the source knows better than the caller; or None.
    """

    modality: ClassVar[str]
    chunk: int | None = None

    def __init__(
        self,
        name: str,
        length: int,
        *,
        fingerprint: str,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        skipped: list[tuple[str, str]] | None = None,
        groups: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self.labels = labels
        self.class_names = class_names
        self.skipped = list(skipped or [])
        self.fingerprint = fingerprint
        self.groups = groups
        self._rows = np.arange(length) if rows is None else rows
        for what, values in (("labels", labels), ("groups", groups)):
            if values is not None and len(values) != len(self):
                raise DataError(f"{name}: {len(values)} {what} for {len(self)} samples.")

    @abstractmethod
    def _read(self, rows: np.ndarray) -> Any:
        """The raw batch of the samples at `rows` (n,) of what is held, in their order."""

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: np.ndarray | Tensor | Sequence[int]) -> Any:
        """The raw batch of the samples at `indices`, in their order; a copy.

        Raises
        ------
        IndexError : an index is out of range or not an integer.
        """
        return self._read(self._rows[_checked(indices, len(self), self.name)])

    def subset(self, indices: np.ndarray | Tensor | Sequence[int]) -> Self:
        """The same source with only the samples at `indices`, in their order."""
        chosen = _checked(indices, len(self), self.name)
        digest = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        digest.update(chosen.tobytes())
        part = copy.copy(self)
        part.fingerprint = digest.hexdigest()
        part.labels = None if self.labels is None else self.labels[chosen]
        part.groups = None if self.groups is None else self.groups[chosen]
        part._rows = self._rows[chosen]
        return part

    def split(self, split: Split, *, test_share: float = TEST_SHARE) -> Self:
        """A deterministic partition for data that has no test split of its own.

        Which samples are "test" depends on their position and on the length alone, so both sides
        are the same in every process and version. Groups (subjects) are never divided. "all" is
        the source itself.

        >>> from tacit.data import open_source
        >>> source = open_source("digits")
        >>> len(source), len(source.split("train")), len(source.split("test"))
        (1797, 1438, 359)
        """
        if split == "all":
            return self
        if self.groups is None:
            held_out = _scattered(len(self), round(len(self) * test_share))
        else:
            names, group = np.unique(self.groups, return_inverse=True)
            held_out = _scattered(len(names), max(1, round(len(names) * test_share)))[group]
        chosen = np.flatnonzero(held_out if split == "test" else ~held_out)
        if len(chosen) == 0:
            raise DataError(
                f"{self.name}: {len(self)} samples are too few for a '{split}' split; "
                "give more samples or use split='all'."
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
