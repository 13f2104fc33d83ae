"""`SeriesSource`: windows of multichannel time series, and what is refused before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from tacit.data.base import Source
from tacit.errors import DataError

Constant = Literal["error", "drop", "keep"]


class SeriesSource(Source):
    """Time series of one shape, with optional labels; a batch is float32 (n, C, T).

    Parameters
    ----------
    name : how reports call it.
    values : (N, C, T) numbers, none of them missing; kept as float32.
    rate : samples a second (Hz), or None where time has no unit.
    channel_names : C texts, or None.
    onsets : (N,) seconds (samples, without a rate) from the start of the sample's recording to its
        window. None: single series.
    recordings : int64 (N,), the recording of each window; with `onsets` it says which windows
        follow each other. A subject (`groups`) may have several.
    recording_names : their names by number, or None.
    labels, class_names, groups, skipped : as in `Source`.
    fingerprint : of the content; computed where None.

    Attributes
    ----------
    shape : (C, T)

    Raises
    ------
    DataError : not three dimensions, nothing in it, or missing or infinite values (named).

    Examples
    --------
    >>> source = SeriesSource("two sines", np.sin(np.arange(200.0)).reshape(2, 1, 100), rate=50)
    >>> source.shape, source.batch([0]).shape, source.rate
    ((1, 100), torch.Size([1, 1, 100]), 50.0)
    """

    modality: ClassVar[str] = "series"

    def __init__(
        self,
        name: str,
        values: np.ndarray,
        *,
        rate: float | None = None,
        channel_names: Sequence[str] | None = None,
        onsets: np.ndarray | None = None,
        recordings: np.ndarray | None = None,
        recording_names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        groups: np.ndarray | None = None,
        skipped: list[tuple[str, str]] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        values = check_series(values, name)
        if rate is not None and not rate > 0:
            raise DataError(f"{name}: a sampling rate of {rate} Hz is not above 0.")
        super().__init__(
            name,
            len(values),
            fingerprint=fingerprint or _fingerprint(values, labels),
            labels=labels,
            class_names=class_names,
            skipped=skipped,
            groups=groups,
        )
        self.shape: tuple[int, int] = values.shape[1:]  # type: ignore[assignment]
        self.rate = None if rate is None else float(rate)
        self.channel_names = None if channel_names is None else list(channel_names)
        self.onsets, self.recordings = onsets, recordings
        self._recording_names = None if recording_names is None else list(recording_names)
        self._values = values

    def __repr__(self) -> str:
        rate = "" if self.rate is None else f" at {self.rate:g} Hz"
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"SeriesSource({self.name!r}, {len(self)} x {self.shape}{rate}{classes})"

    def _read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._values[rows])

    def subset(self, indices: np.ndarray | Tensor | Sequence[int]) -> Self:
        """The same source with only the series at `indices`, in their order."""
        part = super().subset(indices)
        chosen = np.asarray(indices, np.int64)
        part.onsets = None if self.onsets is None else self.onsets[chosen]
        part.recordings = None if self.recordings is None else self.recordings[chosen]
        return part

    def recording_name(self, position: int) -> str:
        """The name of the recording that the series at `position` is from; "" if it has none."""
        if self.recordings is None or self._recording_names is None:
            return ""
        return self._recording_names[int(self.recordings[position])]

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of every channel over all samples and times.

        A channel that never varies gets the standard deviation 1, so that normalising by it stays
        finite (and gives zeros).
        """
        channels = self.shape[0]
        total, square = np.zeros(channels), np.zeros(channels)
        parts = np.array_split(self._rows, -(-len(self) // 1024))
        for part in parts:
            total += self._values[part].sum((0, 2), dtype=np.float64)
        mean = total / (len(self) * self.shape[1])
        for part in parts:
            deviation = self._values[part] - mean[:, None]
            square += (deviation**2).sum((0, 2))
        std = np.sqrt(square / (len(self) * self.shape[1]))
        return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def check_series(values: Any, name: str) -> np.ndarray:
    """Numbers (N, C, T) as float32, or a DataError that says what is wrong with them."""
    array = np.asarray(values)
    if array.dtype.kind not in "bufi":
        raise DataError(f"{name}: an array of {array.dtype} is not a time series of numbers.")
    if array.ndim != 3:
        raise DataError(
            f"{name}: shape {array.shape} is not (samples, channels, times). For one channel "
            "insert the axis: values[:, None]."
        )
    if 0 in array.shape:
        raise DataError(f"{name}: shape {array.shape} has no values.")
    with np.errstate(over="ignore"):  # too large for float32: refused as infinite just below
        array = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(array).all((1, 2))
    if not finite.all():
        where = np.flatnonzero(~finite)
        raise DataError(
            f"{name}: {len(where)} of {len(array)} series have missing (NaN) or infinite values, "
            f"the first at position {where[0]}. Interpolate or remove them "
            "(specs of files take missing=interpolate or missing=drop)."
        )
    return array


def constant_rows(values: np.ndarray, name: str, constant: Constant) -> np.ndarray:
    """Boolean (N,): the series to keep, by whether some channel of them varies.

    Parameters
    ----------
    values : (N, C, T)
    constant : what to do with series that are constant on every channel: "error", "drop", "keep".

    Raises
    ------
    DataError : with "error" where there is one; with "drop" where no other series is left.
    """
    varies = (np.ptp(values, axis=2) > 0).any(1)
    if constant == "keep" or varies.all():
        return np.ones(len(values), bool)
    where = np.flatnonzero(~varies)
    if constant == "error" or len(where) == len(values):
        raise DataError(
            f"{name}: {len(where)} of {len(values)} series are constant on every channel, the "
            f"first at position {where[0]}: an unplugged sensor, or padding? There is nothing to "
            "learn from them; leave them out with constant=drop, or keep them with constant=keep."
        )
    return varies


def _fingerprint(values: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.blake2b(repr(values.shape).encode(), digest_size=16)
    digest.update(values.data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
