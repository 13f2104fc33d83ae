"""`ucr:NAME`: the UCR and UEA archives of time series, through aeon, or `.ts` files of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.cache import cache_folder
from tacit.data.series import SeriesSource
from tacit.data.series_assemble import Recording, assemble
from tacit.data.series_options import SeriesOptions, split_spec
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, MissingExtraError, did_you_mean


def open_ucr(argument: str | None, options: OpenOptions) -> SeriesSource:
    """Open ``ucr:NAME[@DIR][#option=value,...]``; options as in `SeriesOptions`.

    Without a folder: the sets inside aeon (BasicMotions, GunPoint, ArrowHead, JapaneseVowels ...),
    and others are downloaded to the cache. With one: `NAME_TRAIN.ts` and `NAME_TEST.ts` in it or in
    its sub-folder NAME. The archive's split is kept: "train" or "test", and "all" is "train".
    """
    if not argument:
        raise DataError("ucr needs the name of a data set, for instance ucr:BasicMotions.")
    try:
        from aeon.datasets import load_from_ts_file
    except ModuleNotFoundError as error:
        raise MissingExtraError("aeon", "series", "ucr:NAME") from error
    file, chosen, _ = split_spec(argument, "ucr")
    name, _, folder = file.partition("@")
    side = "TEST" if options.split == "test" else "TRAIN"
    path = _find(name, folder, side, options)
    try:
        x, y, meta = load_from_ts_file(str(path), return_meta_data=True)
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a .ts file ({error}).") from error
    names = _class_names(path, y, meta)
    return _assemble(f"ucr:{name}", x, y, names, chosen)


def _assemble(
    name: str, x: Any, y: np.ndarray, names: list[str] | None, options: SeriesOptions
) -> SeriesSource:
    number = {text: index for index, text in enumerate(names or [])}
    recordings = [
        Recording(np.asarray(series, float), f"{name}, series {i}", number.get(str(label), -1))
        for i, (series, label) in enumerate(zip(x, y))
    ]
    return assemble(name, recordings, options, class_names=names, labelled=names is not None)


def _class_names(path: Path, y: np.ndarray, meta: dict[str, Any]) -> list[str] | None:
    """The classes of both sides, sorted, so that a label has one meaning; None without classes."""
    if not meta.get("classlabel"):
        return None
    declared = {str(value) for value in meta.get("class_values") or []}
    return sorted(declared | {str(value) for value in np.unique(y)})


def _find(name: str, folder: str, side: str, options: OpenOptions) -> Path:
    import aeon.datasets

    file = f"{name}_{side}.ts"
    if folder:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise DataError(f"the folder {root} does not exist.")
        places = [root / file, root / name / file]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            near = [p.stem.rsplit("_", 1)[0] for p in root.rglob("*_TRAIN.ts")]
            raise DataError(
                f"there is no {file} in {root} or {root / name}.{did_you_mean(name, near)}"
            )
        return found
    bundled = Path(aeon.datasets.__file__).parent / "data"
    if (bundled / name / file).is_file():
        return bundled / name / file
    known = [*_archive(), *(p.name for p in bundled.iterdir() if p.is_dir())]
    if name not in known:
        raise DataError(
            f"aeon knows no data set '{name}'.{did_you_mean(name, known)} For your own .ts files "
            "write ucr:NAME@FOLDER."
        )
    local = cache_folder(options.cache_dir) / "ucr"
    if not (local / name / file).is_file():
        _download(aeon.datasets.load_classification, name, local)
    if not (local / name / file).is_file():
        raise DataError(f"the download of '{name}' has no {file}; look into {local / name}.")
    return local / name / file


def _archive() -> list[str]:
    from aeon.datasets.tsc_datasets import multivariate, univariate

    return sorted({*univariate, *multivariate})


def _download(load: Callable[..., Any], name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        load(name, extract_path=str(folder))
    except Exception as error:
        raise DataError(
            f"'{name}' is not inside aeon and cannot be downloaded ({error}). Get its .ts files "
            f"from timeseriesclassification.com and write ucr:{name}@FOLDER."
        ) from error
