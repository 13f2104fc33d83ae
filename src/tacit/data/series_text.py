"""`txt:PATH`: a folder or zip archive of text files, one series a file."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from tacit.data.series import SeriesSource
from tacit.data.series_assemble import Recording, assemble
from tacit.data.series_options import split_spec
from tacit.data.spec import OpenOptions, report_skipped
from tacit.errors import DataError
from tacit.untrusted import refuse_bomb

SUFFIXES = (".txt", ".dat", ".asc", ".tsv")
_SEPARATORS = str.maketrans(",;", "  ")
LARGEST = 2**30  # bytes of one file: more is not a series of text


def open_text(argument: str | None, options: OpenOptions) -> SeriesSource:
    """Open ``txt:PATH[#option=value,...]``; options as in `SeriesOptions`.

    PATH is a folder (read with its sub-folders) or a zip archive of text files (.txt, .dat, .asc,
    .tsv), one series a file: a line a time step, channels in columns separated by spaces, tabs,
    commas or semicolons. The name of a sub-folder is the class. Files are sorted by class and name,
    numbers in names by value. A file that is not numbers is an error with ``strict``, and is
    skipped and named otherwise.

    Bonn EEG, for instance: ``txt:bonn.zip#rate=173.61,resample=100,unequal=crop,length=2100``.
    """
    if not argument:
        raise DataError("txt needs a folder or a zip archive: txt:PATH.")
    file, chosen, _ = split_spec(argument, "txt")
    path = Path(file).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    name = f"txt:{path.name}"
    texts = _from_folder(path) if path.is_dir() else _from_zip(path)
    if not texts:
        raise DataError(f"{path} has no text files ({', '.join(SUFFIXES)}).")
    texts.sort(key=lambda item: (item[0].rpartition("/")[0], _natural(item[0])))
    folders = [member.rpartition("/")[0].rpartition("/")[2] for member, _ in texts]
    classes = sorted(set(folders))
    labelled = len(classes) > 1 or classes[0] != ""
    recordings, skipped = [], []
    for (member, text), folder in zip(texts, folders, strict=True):
        try:
            label = classes.index(folder) if labelled else -1
            recordings.append(Recording(_numbers(text), member, label))
        except ValueError as error:
            skipped.append((member, str(error)))
    if skipped and (options.strict or not recordings):
        raise DataError(
            f"{name}: {len(skipped)} of {len(texts)} files are not series of numbers, the first "
            f"'{skipped[0][0]}': {skipped[0][1]}."
        )
    source = assemble(name, recordings, chosen, class_names=classes, labelled=labelled)
    report_skipped(name, skipped, len(texts), options.strict)
    source.skipped += skipped
    return source.split(options.split)


def _from_folder(path: Path) -> list[tuple[str, str]]:
    files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    return [(p.relative_to(path).as_posix(), p.read_text("utf-8", "replace")) for p in files]


def _from_zip(path: Path) -> list[tuple[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if Path(m.filename).suffix.lower() in SUFFIXES]
            large = next((m for m in members if m.file_size > LARGEST), None)
            if large is not None:
                raise DataError(f"'{large.filename}' in {path} is larger than 1 GiB.")
            unpacked, packed = (
                sum(getattr(m, size) for m in members) for size in ("file_size", "compress_size")
            )
            refuse_bomb(str(path), unpacked, packed, "Or unpack it and give the folder.")
            return [(m.filename, archive.read(m).decode("utf-8", "replace")) for m in members]
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib, lzma and bz2 have errors of their own
        raise DataError(
            f"{path} is neither a folder nor a readable zip archive ({error})."
        ) from error


def _numbers(text: str) -> np.ndarray:
    """Lines of numbers -> (channels, times)."""
    text = text.translate(_SEPARATORS)
    values = text.split()
    if not values:
        raise ValueError("it is empty")
    if len(values) == sum(not line.isspace() for line in text.splitlines() if line):
        return np.array([values], float)  # one column
    rows = [row for row in map(str.split, text.splitlines()) if row]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise ValueError(f"its lines have {min(widths)} to {max(widths)} columns")
    return np.array(rows, float).T  # a ValueError names what is no number


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key in which O2 comes before O10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
