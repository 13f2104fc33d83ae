"""fMRI: recordings of region time series, and ``fmri:PATH``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tacit.data.base import Source
from tacit.data.fmri_files import read_recordings
from tacit.data.fmri_preprocess import Detrend, check_series, preprocess
from tacit.data.fmri_recordings import Recordings
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, did_you_mean

LEAST_POINTS = 10


class FMRISource(Source):
    """Recordings of one length and one TR; a batch is float32 (n, regions, T).

    Parameters
    ----------
    name : how reports call it.
    series : (N, regions, T) numbers, or N arrays (regions, T).
    tr : seconds between two points (repetition time), or None where it is unknown.
    subjects : (N,) who each recording is of, numbers or texts; None: all different. `split` keeps
        a subject whole.
    labels, class_names : as in `Source`.
    region_names : of the regions, or None.
    length : use the first `length` points; None: recordings must have equal lengths.
    detrend : polynomial that is removed from each region's series of a recording: "none",
        "constant" (demean), "linear" or "quadratic".
    zscore : divide each region's series by its standard deviation (n - 1).

    Attributes
    ----------
    shape : (regions, T)
    tr, region_names, subject_names

    Raises
    ------
    DataError : other numbers of regions or lengths, too short, NaN, or a constant region; each
        names recording and region.

    Examples
    --------
    >>> source = FMRISource("noise", np.random.default_rng(0).normal(size=(4, 10, 50)), tr=2.0)
    >>> source.shape, source.batch([0, 3]).shape, source.tr
    ((10, 50), torch.Size([2, 10, 50]), 2.0)
    """

    modality: ClassVar[str] = "fmri"

    def __init__(
        self,
        name: str,
        series: np.ndarray | Sequence[np.ndarray],
        *,
        tr: float | None = None,
        subjects: np.ndarray | Sequence[Any] | None = None,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        region_names: Sequence[str] | None = None,
        length: int | None = None,
        detrend: Detrend = "quadratic",
        zscore: bool = True,
    ) -> None:
        if tr is not None and not 0 < tr < float("inf"):
            raise DataError(f"{name}: a TR of {tr} s is not above 0.")
        stacked = _stack(series, name, length)
        if region_names is not None and len(region_names) != stacked.shape[1]:
            raise DataError(
                f"{name}: {len(region_names)} region names for {stacked.shape[1]} regions."
            )
        names = None if region_names is None else [str(region).strip() for region in region_names]
        check_series(stacked, name, names)
        values = preprocess(stacked, detrend=detrend, zscore=zscore).astype(np.float32)
        if labels is not None:
            labels = np.asarray(labels, np.int64)
        who = np.arange(len(values)) if subjects is None else np.asarray(subjects)
        self.subject_names, groups = np.unique(who, return_inverse=True)
        super().__init__(
            name,
            len(values),
            fingerprint=_fingerprint(values, labels),
            labels=labels,
            class_names=class_names,
            groups=groups.astype(np.int64),
        )
        self.shape: tuple[int, int] = values.shape[1:]  # type: ignore[assignment]
        self.tr = None if tr is None else float(tr)
        self.region_names = names
        self._values = values

    def __repr__(self) -> str:
        tr = "TR unknown" if self.tr is None else f"TR {self.tr:g} s"
        return f"FMRISource({self.name!r}, {len(self)} x {self.shape}, {tr})"

    def _read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._values[rows])


def _stack(series: np.ndarray | Sequence[np.ndarray], name: str, length: int | None) -> np.ndarray:
    """(N, regions, T) float64, or a DataError that names what differs."""
    arrays = [np.asarray(one) for one in series]
    if not arrays:
        raise DataError(f"{name}: there are no recordings in it.")
    for position, one in enumerate(arrays):
        if one.ndim != 2 or one.dtype.kind not in "buif":
            raise DataError(
                f"{name}: recording {position} must be numbers (regions, time), not {one.dtype} "
                f"of shape {one.shape}."
            )
        if len(one) != len(arrays[0]):
            raise DataError(
                f"{name}: recording {position} has {len(one)} regions and recording 0 has "
                f"{len(arrays[0])}; all recordings need the same atlas."
            )
    points = [one.shape[1] for one in arrays]
    wanted = points[0] if length is None else length
    if wanted < LEAST_POINTS:
        raise DataError(
            f"{name}: {wanted} time points are too few; connectivity needs at least {LEAST_POINTS}."
        )
    for position, count in enumerate(points):
        if count < wanted or (length is None and count != wanted):
            raise DataError(
                f"{name}: recording {position} has {count} time points, expected {wanted}. Use the "
                f"first points of all with length={min(points)}, or leave short ones out."
            )
    return np.stack([one[:, :wanted] for one in arrays]).astype(np.float64)


def _fingerprint(values: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.blake2b(repr(values.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    if labels is not None:
        digest.update(labels.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class SpecOptions:
    """What may follow ``#`` in ``fmri:PATH#key=value,...``."""

    tr: float | None = None
    length: int | None = None
    detrend: Detrend = "quadratic"
    zscore: bool = True
    key: str | None = None
    atlas: str | None = None


def open_fmri(argument: str | None, options: OpenOptions) -> FMRISource:
    """Open ``fmri:PATH``, or ``fmri:PATH#key=value,...``.

    PATH is one of

    - ``.npz``: `series` (N, regions, T); optional `subject` (N,), `label` (N,), `regions` (names),
      `tr_seconds` (one number, or one of each recording);
    - ``.csv``: one recording with a column a region and a row a time point; or many, with a column
      `subject` and perhaps `recording` and `label`, and either a column a region or the columns
      `region`, `time` and `value`;
    - ``.mat``: a cell array (subjects x conditions) of (regions, T), or an array;
    - ``.nii`` or ``.nii.gz``: a 4-D image, with ``atlas=LABELS.nii.gz`` (extra `medical`): the mean
      series of every label;
    - a folder of ``.csv`` or of ``.nii`` files, one a recording; `sub-XX` in the name is the
      subject, and sub-folders are classes.

    Keys: `tr` (seconds), `length` (points), `detrend` (none, constant, linear, quadratic), `zscore`
    (true, false), `key` (name of the array in .npz or .mat), `atlas`.

    Raises
    ------
    DataError : the file or what is in it cannot be used; TRs that disagree.
    """
    if not argument:
        raise DataError("fmri needs a file or folder: fmri:PATH.")
    file, _, fragment = argument.partition("#")
    path, asked = Path(file).expanduser(), _parse(fragment)
    if not path.exists():
        raise DataError(f"the file or folder {path} does not exist.")
    name = f"fmri:{path.name}"
    found = read_recordings(path, key=asked.key, atlas=asked.atlas)
    labels, class_names = _labels(found, name)
    source = FMRISource(
        name,
        found.series,
        tr=_one_tr(found.tr, asked.tr, name),
        subjects=found.subjects,
        labels=labels,
        class_names=class_names,
        region_names=found.regions,
        length=asked.length,
        detrend=asked.detrend,
        zscore=asked.zscore,
    )
    return source.split(options.split)


def _parse(fragment: str) -> SpecOptions:
    """`key=value,...` with the types of `SpecOptions`."""
    known = [field.name for field in fields(SpecOptions)]
    values: dict[str, Any] = {}
    for part in fragment.split(",") if fragment else []:
        key, equals, text = part.partition("=")
        if not equals or not text:
            raise DataError(f"'#{fragment}' is not of the form #key=value,key=value.")
        if key not in known:
            raise DataError(
                f"fmri has no option '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}."
            )
        values[key] = _value(key, text)
    return SpecOptions(**values)


def _value(key: str, text: str) -> Any:
    try:
        if key == "zscore":
            return {"true": True, "false": False}[text.lower()]
        return {"tr": float, "length": int}.get(key, str)(text)
    except (KeyError, ValueError):
        kind = {"zscore": "true or false", "tr": "a number of seconds"}.get(key, "a whole number")
        raise DataError(f"fmri: {key}={text} must be {kind}.") from None


def _one_tr(found: list[float], asked: float | None, name: str) -> float | None:
    """The TR of all recordings."""
    known = sorted({round(float(tr), 6) for tr in found})
    if len(known) > 1:
        raise DataError(
            f"{name}: recordings have different TRs ({', '.join(f'{tr:g}' for tr in known)} s). "
            "Resample them to one TR, or open those of each TR as data of their own."
        )
    if known and asked is not None and abs(known[0] - asked) > 1e-3:
        raise DataError(
            f"{name}: tr={asked:g} was asked for, but the data says {known[0]:g} s; leave tr out, "
            "or correct the file."
        )
    return known[0] if known else asked


def _labels(found: Recordings, name: str) -> tuple[np.ndarray | None, list[str] | None]:
    """Integer labels as they are; texts become classes in sorted order."""
    if found.labels is None:
        return None, found.class_names
    labels = np.asarray(found.labels)
    if labels.shape != (len(found.series),):
        raise DataError(
            f"{name}: labels of shape {labels.shape} for {len(found.series)} recordings."
        )
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64), found.class_names
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        return labels.astype(np.int64), found.class_names
    if labels.dtype.kind not in "US":
        raise DataError(f"{name}: labels must be integers or names of classes, not {labels.dtype}.")
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), [str(label) for label in names]
