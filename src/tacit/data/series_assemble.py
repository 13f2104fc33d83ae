"""From recordings of any length to one source: rate, missing values, windows, lengths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from tacit.data.series import SeriesSource, constant_rows
from tacit.data.series_options import Missing, SeriesOptions, samples
from tacit.errors import DataError

BLOCKS = 10  # of a lone recording


@dataclass
class Recording:
    """One series before it is cut.

    values : (C, L) numbers, NaN where missing.
    name : for messages.
    label : of the whole series; or an array (L,) of labels of every sample (-1: none).
    group : subject; None is a group of its own.
    """

    values: np.ndarray
    name: str
    label: int | np.ndarray = -1
    group: int | None = None


@dataclass
class _Cut:
    """Windows of all recordings, and where they come from."""

    values: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    onsets: list[int] = field(default_factory=list)
    recordings: list[int] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def assemble(
    name: str,
    recordings: list[Recording],
    options: SeriesOptions,
    *,
    rate: float | None = None,
    class_names: list[str] | None = None,
    channel_names: list[str] | None = None,
    labelled: bool = True,
) -> SeriesSource:
    """Recordings -> one source: rate, missing values, windows, lengths, constant series.

    Windows have their recording's group; of a single recording, ten consecutive blocks are the
    groups, so that a split divides time and not neighbours.

    Parameters
    ----------
    name : of the source.
    recordings : all with the same channels.
    options : as the user gave them.
    rate : what the file says its sampling rate is, where it does.
    class_names, channel_names : as in `SeriesSource`.
    labelled : whether the labels mean something.

    Raises
    ------
    DataError : with what is wrong, where, and which option decides it.
    """
    if not recordings:
        raise DataError(f"{name}: there are no series in it.")
    channels = {len(r.values) for r in recordings}
    if len(channels) > 1:
        raise DataError(
            f"{name}: its series have {' and '.join(map(str, sorted(channels)))} channels; all "
            "need the same."
        )
    rate = _rate(name, options, rate)
    to = options.resample or rate
    cut = _Cut()
    for number, recording in enumerate(recordings):
        if options.missing == "interpolate":
            recording = replace(recording, values=interpolate_missing(recording))
        if rate is not None and to is not None:
            recording = resampled(recording, rate, to)
        if options.scale == "median":
            recording = replace(recording, values=_median_scaled(recording.values))
        _cut(recording, number, options, to, name, cut)
    values = equal_lengths(cut.values, options, name)
    keep = _finite(values, options.missing, name, cut.skipped)
    keep[keep] = constant_rows(values[keep], name, options.constant)
    if keep.sum() < len(values):
        missing = len(values) - int(keep.sum())
        cut.skipped.append((f"{missing} of {len(values)} series", "missing values or constant"))
    windowed = options.window is not None
    onsets = np.array(cut.onsets, float) / (to or 1)
    groups = np.array(cut.groups)
    if windowed and len(set(cut.groups)) == 1:
        groups = np.arange(len(groups)) * BLOCKS // len(groups)
    grouped = windowed or any(r.group is not None for r in recordings)
    return SeriesSource(
        name,
        values[keep],
        rate=to,
        channel_names=channel_names,
        onsets=onsets[keep] if windowed else None,
        recordings=np.array(cut.recordings)[keep] if windowed else None,
        recording_names=[Path(r.name).name for r in recordings] if windowed else None,
        labels=np.array(cut.labels, np.int64)[keep] if labelled else None,
        class_names=class_names if labelled else None,
        groups=groups[keep] if grouped else None,
        skipped=cut.skipped,
    )


def _rate(name: str, options: SeriesOptions, found: float | None) -> float | None:
    """The sampling rate before any resampling."""
    if found and options.rate and abs(found - options.rate) > 1e-6 * found:
        raise DataError(
            f"{name} is sampled at {found:g} Hz, not at the expected {options.rate:g} Hz. Leave "
            f"out rate=, or bring it to that rate with resample={options.rate:g}."
        )
    rate = found or options.rate
    if options.resample is not None and rate is None:
        raise DataError(f"{name}: resample= needs the sampling rate; give it with rate=HZ.")
    return rate


def resampled(recording: Recording, rate: float, to: float) -> Recording:
    """A recording at another rate, by a polyphase filter.

    Missing values are interpolated for the filter only: what lies in or beside a gap stays missing.

    >>> resampled(Recording(np.ones((1, 100)), "x"), 50.0, 25.0).values.shape
    (1, 50)
    """
    from scipy.signal import resample_poly

    if rate == to:
        return recording
    ratio = Fraction(to / rate).limit_denominator(10_000)
    up, down = ratio.numerator, ratio.denominator
    # "line" takes away the line between both ends, so that an offset makes no edge
    known, taps = interpolate_missing(recording), _low_pass(max(up, down))
    values = resample_poly(known, up, down, axis=1, padtype="line", window=taps)
    label, last = recording.label, recording.values.shape[1] - 1
    index = np.arange(values.shape[1]) * down // up  # the sample at, or the last one before
    if isinstance(label, np.ndarray):
        label = label[index.clip(0, last)]
    gap = ~np.isfinite(recording.values)
    if gap.any():
        after = -(-np.arange(values.shape[1]) * down // up)
        values[gap[:, index.clip(0, last)] | gap[:, after.clip(0, last)]] = np.nan
        channel, at = np.nonzero(gap)  # a gap between two of the new samples hits both
        for place in (at * up // down, -(-at * up // down)):
            values[channel, place.clip(0, values.shape[1] - 1)] = np.nan
    return replace(recording, values=values, label=label)


@lru_cache(maxsize=8)
def _low_pass(rate: int) -> np.ndarray:
    """The filter that `resample_poly` designs; once for all recordings, as it can be long."""
    from scipy.signal import firwin

    taps: np.ndarray = firwin(20 * rate + 1, 1 / rate, window=("kaiser", 5.0))
    return taps


def interpolate_missing(recording: Recording) -> np.ndarray:
    """(C, L) with NaN and infinite values replaced, linear in time, the nearest at the ends.

    >>> interpolate_missing(Recording(np.array([[np.nan, 1, np.nan, 3]]), "x"))
    array([[1., 1., 2., 3.]])
    """
    values = np.array(recording.values, float)
    time = np.arange(values.shape[1])
    for channel, row in enumerate(values):
        known = np.isfinite(row)
        if not known.any():
            raise DataError(
                f"{recording.name}: channel {channel} has no value at all, nothing to interpolate."
            )
        if not known.all():
            row[~known] = np.interp(time[~known], time[known], row[known])
    return values


def _median_scaled(values: np.ndarray) -> np.ndarray:
    centred = values - np.nanmedian(values, 1, keepdims=True)
    spread = np.nanmedian(np.abs(centred), 1, keepdims=True)
    return centred / np.where(spread > 0, spread, 1)


def _cut(
    recording: Recording,
    number: int,
    options: SeriesOptions,
    rate: float | None,
    name: str,
    out: _Cut,
) -> None:
    length = recording.values.shape[1]
    window, stride = length, length
    if options.window is not None:
        window = samples(options.window, rate, name, "window")
        stride = window
        if options.stride is not None:
            stride = samples(options.stride, rate, name, "stride")
        if length < window and options.unequal != "pad":
            raise DataError(
                f"{recording.name} has {length} samples, fewer than the window of {window}. Use a "
                "shorter window, or fill it up with unequal=pad."
            )
    elif options.stride is not None:
        raise DataError(f"{name}: stride= needs window=.")
    group = number if recording.group is None else recording.group
    for start in range(0, max(length - window, 0) + 1, max(stride, 1)):
        part = slice(start, start + window)
        out.values.append(_padded(recording.values[:, part], window))
        label = recording.label
        out.labels.append(majority(label[part]) if isinstance(label, np.ndarray) else label)
        out.groups.append(group)
        out.onsets.append(start)
        out.recordings.append(number)


def majority(labels: np.ndarray) -> int:
    """The label of most samples; -1 where that is no label, the smallest of equals.

    >>> majority(np.array([2, 2, -1, 1]))
    2
    """
    found, counts = np.unique(labels, return_counts=True)
    return int(found[counts.argmax()])


def equal_lengths(values: list[np.ndarray], options: SeriesOptions, name: str) -> np.ndarray:
    """Series (C, L) of any lengths -> (N, C, T)."""
    lengths = np.array([v.shape[1] for v in values])
    if lengths.min() == 0:
        raise DataError(f"{name}: series {int(lengths.argmin())} is empty.")
    how, length = options.unequal, options.length
    if length is None:
        if (lengths != lengths[0]).any() and how == "error":
            raise DataError(
                f"{name}: its series have {lengths.min()} to {lengths.max()} samples. Say what to "
                "do: unequal=pad, unequal=crop or unequal=interpolate, or cut windows of one "
                "length with window=."
            )
        length = int(lengths.min() if how == "crop" else lengths.max())
    out = np.empty((len(values), len(values[0]), length), np.float32)
    for row, series in zip(out, values):
        if how == "interpolate" and series.shape[1] != length:
            at = np.linspace(0, series.shape[1] - 1, length)
            row[:] = [np.interp(at, np.arange(series.shape[1]), channel) for channel in series]
        else:
            row[:] = _padded(series[:, :length], length)
    return out


def _padded(series: np.ndarray, length: int) -> np.ndarray:
    """The last value repeated up to `length`."""
    short = length - series.shape[1]
    return np.pad(series, ((0, 0), (0, short)), mode="edge") if short > 0 else series


def _finite(
    values: np.ndarray, missing: Missing, name: str, skipped: list[tuple[str, str]]
) -> np.ndarray:
    good = np.isfinite(values).all((1, 2))
    if not good.all() and (missing != "drop" or not good.any()):
        where = np.flatnonzero(~good)
        raise DataError(
            f"{name}: {len(where)} of {len(good)} series have missing (NaN) or infinite values, "
            f"the first at position {where[0]}. Fill them with missing=interpolate, or leave "
            "these series out with missing=drop."
        )
    return good
