"""Voxels to regions: the mean series of every label of an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from tacit.data.fmri_recordings import Recordings, subject_of
from tacit.errors import DataError, MissingExtraError

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def read_nifti(files: list[Path], atlas: Path) -> Recordings:
    """Mean series over the voxels of every label above 0 of an atlas image.

    Parameters
    ----------
    files : 4-D images, one a recording, in the space of the atlas.
    atlas : 3-D image of integer labels.

    Returns
    -------
    Regions in the order of their labels, named "label 1" ...; the TR of every header that has one.

    Raises
    ------
    DataError : damaged, another grid than the atlas, not 4-D, or an atlas without labels.
    MissingExtraError : nibabel is not installed.
    """
    labels, affine = _read_atlas(atlas)
    inside = np.flatnonzero(labels.reshape(-1) > 0)
    if len(inside) == 0:
        raise DataError(f"the atlas {atlas} has no label above 0.")
    numbers, region = np.unique(labels.reshape(-1)[inside], return_inverse=True)
    share = 1 / np.bincount(region)[region]
    mean = csr_matrix((share, (region, np.arange(len(inside)))))
    found = Recordings([], subjects=[], regions=[f"label {number}" for number in numbers])
    for file in files:
        image = _load(file)
        if len(image.shape) != 4 or image.shape[3] < 2:
            raise DataError(f"{file}: shape {image.shape} is not (x, y, z, time).")
        if image.shape[:3] != labels.shape or not np.allclose(image.affine, affine, atol=1e-3):
            raise DataError(
                f"{file}: its voxels {image.shape[:3]} are not those of the atlas {labels.shape}"
                + (", they lie elsewhere" if image.shape[:3] == labels.shape else "")
                + "; resample one of them to the other's grid (same shape and affine)."
            )
        voxels = _values(image, file).reshape(-1, image.shape[3])
        found.series.append(mean @ voxels[inside])
        found.subjects.append(subject_of(file))  # type: ignore[union-attr]
        found.tr += _tr(image)
    return found


def _load(path: Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise MissingExtraError("nibabel", "medical", "reading NIfTI images") from error
    if not path.is_file():
        raise DataError(f"the image {path} does not exist.")
    try:
        return nibabel.load(path)  # type: ignore[attr-defined]
    except Exception as error:  # nibabel raises what it meets in a damaged file
        raise DataError(f"{path} cannot be read as a NIfTI image ({error}).") from error


def _values(image: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(image.dataobj, np.float64)
    except Exception as error:  # a truncated file fails only here
        raise DataError(f"{path} cannot be read as a NIfTI image ({error}).") from error


def _read_atlas(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = _load(path)
    values = _values(image, path)
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not np.isfinite(values).all() or (values != values.round()).any():
        raise DataError(f"the atlas {path} is not a 3-D image of whole numbers.")
    return values.astype(np.int64), image.affine


def _tr(image: Any) -> list[float]:
    """Seconds between volumes, where the header says so."""
    step, unit = float(image.header.get_zooms()[3]), image.header.get_xyzt_units()[1]
    return [step * SECONDS[unit]] if unit in SECONDS and step > 0 else []
