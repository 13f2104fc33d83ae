"""`edf:PATH`: polysomnograms and other recordings in EDF, EDF+ or BDF, cut into epochs by MNE."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tacit.data.series import SeriesSource
from tacit.data.series_assemble import Recording, assemble, resampled
from tacit.data.series_options import SeriesOptions, split_spec
from tacit.data.spec import OpenOptions, report_skipped
from tacit.errors import DataError, MissingExtraError, did_you_mean

logger = logging.getLogger("tacit.data")

EPOCH = "30s"
VOLT = {"uV": 1e6, "mV": 1e3, "V": 1.0}
STAGES = ("W", "N1", "N2", "N3", "REM")
# Rechtschaffen and Kales' stages 3 and 4 are one in the AASM's rules
_STAGE = {"w": 0, "0": 0, "1": 1, "n1": 1, "2": 2, "n2": 2, "3": 3, "n3": 3, "4": 3, "n4": 3}
_STAGE |= {"r": 4, "rem": 4, "5": 4}
_SLEEP = re.compile(r"^sleep stage (\S+)$", re.IGNORECASE)
_KIND = re.compile(r"[-_. ]*(hypnogram|psg)")
_SLEEP_EDF = re.compile(r"^(SC4|ST7)(\d\d)\d")  # study, subject, night


def open_edf(argument: str | None, options: OpenOptions) -> SeriesSource:
    """Open ``edf:FILE`` or ``edf:DIR[#option=value,...]``; options as in `SeriesOptions`.

    Every recording is cut into epochs of 30 s (``window=``). Labels are of the annotations: of the
    file itself, or of a second file beside it with "hypnogram" in its name: in Sleep-EDF
    (SC4001E0-PSG.edf and SC4001EC-Hypnogram.edf) the one with the same six characters, else the
    one that is called the same but for "hypnogram" and "PSG" (n1.edf, n1-hypnogram.edf).
    "Sleep stage W, 1, 2, 3, 4, R" become W, N1, N2, N3 (3 and 4), REM; where there is no sleep
    stage, every description is a class. An epoch has the label of most of its samples, -1 where
    that is none (movement, unknown). All recordings need the same channels and rate:

    - ``channels=Fpz-Cz+Pz-Oz``: the channels to read, by their names or parts of them.
    - ``unit=uV`` (default), mV or V: MNE gives volts, in which networks see nothing.
    - ``resample=100``: bring recordings to one rate; ``rate=100`` only checks it.

    Groups are subjects: by the file names of Sleep-EDF, else by the patient's code in the file,
    else every file is its own. Files that cannot be read are skipped and named, or an error with
    `strict`.
    """
    try:
        import mne
    except ModuleNotFoundError as error:
        raise MissingExtraError("mne", "series", "edf:PATH") from error
    if not argument:
        raise DataError("edf needs a file or a folder: edf:PATH.")
    file, common, own = split_spec(argument, "edf", own=("channels", "unit"))
    unit = own.get("unit", "uV")
    if unit not in VOLT:
        raise DataError(f"edf: unit={unit} is not one of {', '.join(VOLT)}.")
    path = Path(file).expanduser()
    if common.window is None:
        common = replace(common, window=EPOCH)
    found, skipped = [], []
    for file_path in _files(path):
        try:
            one = _load(mne, file_path, own.get("channels"), VOLT[unit])
            _cut_off(file_path, options.strict)
            found.append(one)
        except DataError:
            raise
        except Exception as error:  # a damaged file: MNE raises nearly anything
            if options.strict:
                raise DataError(f"{file_path} cannot be read as EDF ({error}).") from error
            skipped.append((str(file_path), f"cannot be read as EDF ({error})"))
    if not found:
        reason = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise DataError(f"{path} has no readable .edf or .bdf recording{reason}.")
    rate = _same(found, common)
    class_names, labels = _labels(found)
    codes = {subject: code for code, subject in enumerate(dict.fromkeys(f.subject for f in found))}
    recordings = []
    for one, label in zip(found, labels):
        recording = Recording(one.values, str(one.path), label, codes[one.subject])
        to = common.resample or one.rate
        recordings.append(resampled(recording, one.rate, to))
    source = assemble(
        f"edf:{path.name}",
        recordings,
        replace(common, rate=None, resample=None),  # both are done
        rate=rate,
        class_names=class_names,
        channel_names=found[0].channels,
        labelled=class_names is not None,
    )
    nights = {_night(one.path) for one in found}
    for lost in sorted(filter(_is_hypnogram, path.rglob("*.edf"))) if path.is_dir() else ():
        if _night(lost) not in nights:
            skipped.append((str(lost), "a hypnogram without a recording of that name"))
    report_skipped(source.name, skipped, len(found) + len(skipped), options.strict)
    source.skipped += skipped
    return source.split(options.split)


class Found(NamedTuple):
    """One file: (C, L) values, rate in Hz, and (onset, duration, text) of its annotations."""

    path: Path
    values: np.ndarray
    rate: float
    channels: list[str]
    subject: str
    notes: list[tuple[float, float, str]]


def _files(path: Path) -> list[Path]:
    """The recordings, sorted; hypnograms are not recordings."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist.")
    kinds = (".edf", ".bdf")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in kinds and p.is_file())
    return [p for p in files if not _is_hypnogram(p)]


def _is_hypnogram(path: Path) -> bool:
    return "hypnogram" in path.name.lower()


def _night(path: Path) -> str:
    """What the files of one night have in common in their names."""
    match = _SLEEP_EDF.match(path.name)
    return match.group(0) if match else _KIND.sub("", path.stem.lower())


def _load(mne: Any, path: Path, chosen: str | None, factor: float) -> Found:
    read = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filters and units in headers
        raw = read(path, preload=False, verbose="ERROR")
        if not raw.ch_names:
            raise ValueError("annotations and no signal: give the folder that has the recording")
        names = _channels(raw.ch_names, chosen, path)
        # files hold 16 or 24 bits; a whole study in float64 takes twice the memory
        values = (raw.get_data(picks=names) * factor).astype(np.float32)
        notes = _notes(raw.annotations)
        beside = [
            p
            for p in sorted(path.parent.iterdir())
            if _is_hypnogram(p) and _night(p) == _night(path) and p != path
        ]
        for hypnogram in beside:
            notes += _notes(mne.read_annotations(hypnogram))
    match = _SLEEP_EDF.match(path.name)
    patient = str((raw.info.get("subject_info") or {}).get("his_id") or "X")
    subject = match.group(0)[:5] if match else path.stem if patient in ("X", "0") else patient
    return Found(path, values, float(raw.info["sfreq"]), names, subject, notes)


def _cut_off(path: Path, strict: bool) -> None:
    """Say that a file has less than its header counts: MNE reads what there is, without a word."""
    with path.open("rb") as file:
        start = file.read(256)
        head, records, signals = (
            _count(start[a:b]) for a, b in ((184, 192), (236, 244), (252, 256))
        )
        file.seek(256 + 216 * signals)
        counts = [_count(file.read(8)) for _ in range(signals)]
    size = sum(counts) * (3 if path.suffix.lower() == ".bdf" else 2)
    there = (path.stat().st_size - head) // max(size, 1)
    if there >= records:  # -1 where a recorder did not write how many
        return
    message = f"{path} is cut off: its header counts {records} records, {there} are there."
    if strict:
        raise DataError(f"{message} Copy it again, or leave --strict (strict=True) out.")
    logger.warning("%s They are used.", message)


def _count(field: bytes) -> int:
    """A number of the header; some recorders fill it up with zero bytes."""
    return int(field.split(b"\0")[0])


def _notes(annotations: Any) -> list[tuple[float, float, str]]:
    return list(zip(annotations.onset, annotations.duration, map(str, annotations.description)))


def _channels(names: list[str], chosen: str | None, path: Path) -> list[str]:
    if chosen is None:
        return list(names)
    out = []
    for wanted in chosen.split("+"):
        exact = [name for name in names if name == wanted]
        fitting = exact or [name for name in names if wanted.lower() in name.lower()]
        if len(fitting) != 1:
            many = f"{len(fitting)} channels" if fitting else "no channel"
            raise DataError(
                f"{path} has {many} called '{wanted}'.{did_you_mean(wanted, names)} It has: "
                f"{', '.join(names)}."
            )
        out += fitting
    return out


def _same(found: list[Found], common: SeriesOptions) -> float:
    """The common rate, after any resampling; refuses different channels."""
    first = found[0]
    for other in found[1:]:
        if other.channels != first.channels:
            raise DataError(
                f"{other.path} has the channels {', '.join(other.channels)}, but {first.path} "
                f"{', '.join(first.channels)}. Choose common ones with channels=A+B."
            )
        if other.rate != first.rate and common.resample is None:
            raise DataError(
                f"{first.path} is sampled at {first.rate:g} Hz and {other.path} at "
                f"{other.rate:g} Hz. Bring them to one rate, for instance with "
                f"resample={min(first.rate, other.rate):g}."
            )
    for one in found:  # `rate=` is a check of the files
        if common.rate is not None and abs(one.rate - common.rate) > 1e-6 * one.rate:
            raise DataError(
                f"{one.path} is sampled at {one.rate:g} Hz, not at the expected "
                f"{common.rate:g} Hz. Leave out rate=, or bring it there with resample=."
            )
    return common.resample or first.rate


def _labels(found: list[Found]) -> tuple[list[str] | None, list[np.ndarray | int]]:
    """Class names, and the label of every sample of every recording."""
    texts = {text for one in found for _, _, text in one.notes}
    sleep = any(_SLEEP.match(text) for text in texts)
    names = list(STAGES) if sleep else sorted(texts)
    if not names:
        return None, [-1] * len(found)
    labels: list[np.ndarray | int] = []
    for one in found:
        label = np.full(one.values.shape[1], -1, np.int64)
        for onset, duration, text in one.notes:
            match = _SLEEP.match(text)
            stage = _STAGE.get(match.group(1).lower(), -1) if match else -1
            code = stage if sleep else names.index(text)
            start, end = (max(0, round(t * one.rate)) for t in (onset, onset + duration))
            label[start : max(end, start + 1)] = code
        labels.append(label)
    return names, labels
