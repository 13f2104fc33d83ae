"""`npz:FILE` with series: an array named `series`, or one that ``#series=NAME`` names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tacit.data.npz import Npz
from tacit.data.series import SeriesSource
from tacit.data.series_assemble import Recording, assemble
from tacit.data.series_options import split_spec
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, did_you_mean

DEFAULTS = {
    "series": ("series",),
    "label": ("labels", "label", "y"),
    "group": ("groups", "subject", "subjects"),
    "fs": ("rate", "fs"),
}


def open_npz_series(argument: str, options: OpenOptions) -> SeriesSource:
    """Open ``npz:FILE[#series=NAME,label=NAME,group=NAME,...]`` as time series.

    `series` is (N, T), one channel, or (N, C, T). Found by their names or named: labels
    (`labels`, integers), groups (`groups`, `subject`) and the sampling rate (`rate`, `fs`, one
    number). The other options are `SeriesOptions`. Object arrays, which need pickle, are refused.
    """
    file, common, own = split_spec(argument, "npz", own=("series", "label", "group"))
    path = Path(file).expanduser()
    name = f"npz:{path.name}"
    with Npz(path) as archive:
        arrays = {role: _get(archive, role, own.get(role), name) for role in DEFAULTS}
    series, labels = arrays["series"], _integers(arrays, "label", name)
    groups = _integers(arrays, "group", name)
    assert series is not None
    if series.dtype.kind not in "bufi" or series.ndim not in (2, 3) or 0 in series.shape:
        raise DataError(
            f"{name}: series of {series.dtype} and shape {series.shape} are not numbers (N, T) or "
            "(N, C, T)."
        )
    series = series[:, None] if series.ndim == 2 else series
    recordings = [
        Recording(
            np.asarray(one, float),
            f"{name}, series {i}",
            -1 if labels is None else int(labels[i]),
            None if groups is None else int(groups[i]),
        )
        for i, one in enumerate(series)
    ]
    rate = None if arrays["fs"] is None else float(np.asarray(arrays["fs"]).reshape(-1)[0])
    source = assemble(name, recordings, common, rate=rate, labelled=labels is not None)
    return source.split(options.split)


def _get(archive: Npz, role: str, named: str | None, name: str) -> np.ndarray | None:
    wanted = (named,) if named else DEFAULTS[role]
    key = next((key for key in wanted if key in archive.files), None)
    if key is None and (named or role == "series"):
        raise DataError(
            f"{name} has no array '{wanted[0]}'.{did_you_mean(wanted[0], archive.files)} "
            f"It has: {', '.join(archive.files) or 'nothing'}."
        )
    return None if key is None else archive[key]


def _integers(arrays: dict[str, np.ndarray | None], role: str, name: str) -> np.ndarray | None:
    values, series = arrays[role], arrays["series"]
    assert series is not None
    if values is None:
        return None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "iub" or values.shape != series.shape[:1]:
        raise DataError(
            f"{name}: {role}s must be {len(series)} integers, not {values.dtype} of shape "
            f"{values.shape}."
        )
    return values.astype(np.int64)
