"""Readers of recordings: arrays, MATLAB cells and folders. No preprocessing here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tacit.data.fmri_csv import read_csv
from tacit.data.fmri_recordings import Recordings, subject_of
from tacit.data.mat import read_mat
from tacit.data.npz import Npz
from tacit.errors import ConfigError, DataError, did_you_mean

SERIES_KEYS = ("series", "timeseries", "bold", "X", "x", "data", "arr_0")
SUBJECT_KEYS = ("subject", "subjects")
LABEL_KEYS = ("label", "labels", "y")
REGION_KEYS = ("regions", "region_names")
TR_KEYS = ("tr_seconds", "tr")
NIFTI = (".nii", ".nii.gz")


def read_recordings(path: Path, *, key: str | None = None, atlas: str | None = None) -> Recordings:
    """The recordings of a file or folder; see `open_fmri` for the formats.

    Raises
    ------
    DataError : unknown format, damaged, or not as described.
    """
    kind = _suffix(path)
    if (atlas is not None) != (kind in NIFTI) and not path.is_dir():
        if atlas is None:
            raise DataError(
                f"{path.name} is an image of voxels: say which labels make regions with "
                f"fmri:{path}#atlas=LABELS.nii.gz."
            )
        raise ConfigError(f"atlas= is for .nii images; {path.name} has regions already.")
    if key is not None and kind not in (".npz", ".mat"):
        raise ConfigError(f"key= names an array of a .npz or .mat file, not of {path.name}.")
    if path.is_dir():
        return _read_folder(path, atlas)
    if kind in NIFTI:
        from tacit.data.fmri_nifti import read_nifti

        assert atlas is not None
        return read_nifti([path], Path(atlas).expanduser())
    readers: dict[str, Callable[[], Recordings]] = {
        ".npz": lambda: _read_npz(path, key),
        ".mat": lambda: _read_mat(path, key),
        ".csv": lambda: read_csv(path),
    }
    if kind not in readers:
        raise DataError(
            f"{path.name}: fmri reads {', '.join(readers)}, .nii, .nii.gz and folders of .csv or "
            f".nii files, not '{kind}'."
        )
    return readers[kind]()


def _suffix(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _read_npz(path: Path, key: str | None) -> Recordings:
    with Npz(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    series = _pick(arrays, key, path)
    regions = _get(arrays, REGION_KEYS)
    tr = _get(arrays, TR_KEYS)
    if tr is not None and (tr.dtype.kind not in "fiu" or tr.ndim > 1):
        raise DataError(f"{path.name}: tr_seconds must be numbers, not {tr.dtype} {tr.shape}.")
    subjects = _get(arrays, SUBJECT_KEYS)
    recordings = _as_list(series, path)
    if subjects is not None and subjects.shape != (len(recordings),):
        raise DataError(
            f"{path.name}: subject has shape {subjects.shape} for {len(recordings)} recordings."
        )
    return Recordings(
        recordings,
        subjects=None if subjects is None else subjects.tolist(),
        labels=_get(arrays, LABEL_KEYS),
        regions=None if regions is None else [str(name) for name in regions],
        tr=[] if tr is None else np.atleast_1d(tr).tolist(),
    )


def _pick(arrays: dict[str, np.ndarray], key: str | None, path: Path) -> np.ndarray:
    if key is not None:
        if key not in arrays:
            raise DataError(
                f"{path.name}: there is no array '{key}'.{did_you_mean(key, arrays)} It has: "
                f"{', '.join(arrays) or 'nothing'}."
            )
        return arrays[key]
    found = _get(arrays, SERIES_KEYS)
    if found is not None:
        return found
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise DataError(
        f"{path.name}: no array of series among {', '.join(arrays) or 'nothing'}. Name it "
        f"'series', or say which: fmri:{path}#key=NAME."
    )


def _get(arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def _as_list(series: np.ndarray, path: Path) -> list[np.ndarray]:
    """(N, regions, T) or one (regions, T) as a list of recordings."""
    if series.ndim not in (2, 3):
        raise DataError(
            f"{path.name}: series of shape {series.shape} are not (recordings, regions, time)."
        )
    return list(series[None] if series.ndim == 2 else series)


def _read_mat(path: Path, key: str | None) -> Recordings:
    array = _pick(read_mat(path), key, path)
    if array.dtype != object:
        return Recordings(_as_list(array, path))
    cells = array
    full = [
        (row, column, cells[row, column])
        for row in range(cells.shape[0])
        for column in range(cells.shape[1])
        if cells[row, column].size  # an empty cell is a recording that was not made
    ]
    several = cells.shape[1] > 1
    return Recordings(
        [cell for _, _, cell in full],
        subjects=[row for row, _, _ in full],
        labels=np.array([column for _, column, _ in full]) if several else None,
        class_names=[f"condition {column + 1}" for column in range(cells.shape[1])]
        if several
        else None,
    )


def _read_folder(path: Path, atlas: str | None) -> Recordings:
    readable = (".csv", *NIFTI)
    files = sorted(f for f in path.rglob("*") if _suffix(f) in readable and f.is_file())
    kinds = {"nifti" if _suffix(file) in NIFTI else "csv" for file in files}
    if len(kinds) != 1:
        raise DataError(
            f"the folder {path} has {'both .csv and .nii' if kinds else 'no .csv or .nii'} files; "
            "give a folder with one recording a file, of one kind."
        )
    folders = {file.parent.name for file in files}
    classes = sorted(folders) if all(file.parent.parent == path for file in files) else []
    if any(folder.startswith("sub-") for folder in classes):
        classes = []  # folders of subjects
    if kinds == {"nifti"}:
        from tacit.data.fmri_nifti import read_nifti

        if atlas is None:
            raise DataError(
                f"the folder {path} has images of voxels: say which labels make regions with "
                f"fmri:{path}#atlas=LABELS.nii.gz."
            )
        label_file = Path(atlas).expanduser()
        files = [file for file in files if file.resolve() != label_file.resolve()]
        found = read_nifti(files, label_file)
    else:
        if atlas is not None:
            raise ConfigError(f"atlas= is for .nii images; the .csv files of {path} have regions.")
        found = _merge([read_csv(file) for file in files], files)
    if classes:
        found.labels, found.class_names = (
            np.array([classes.index(file.parent.name) for file in files]),
            classes,
        )
    return found


def _merge(parts: list[Recordings], files: list[Path]) -> Recordings:
    for part, file in zip(parts, files, strict=True):
        if len(part.series) != 1:
            raise DataError(f"{file}: in a folder, every file is one recording; it has several.")
        if part.regions != parts[0].regions:
            raise DataError(f"{file} has other columns than {files[0].name}; one atlas is needed.")
    return Recordings(
        [part.series[0] for part in parts],
        subjects=[subject_of(file) for file in files],
        regions=parts[0].regions,
    )
