"""What every reader of fMRI files gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Recordings:
    """What a file or folder holds, as it is.

    series : N arrays (regions, T). subjects, labels : of each recording, or None. tr : seconds,
    every value that the files give.
    """

    series: list[np.ndarray]
    subjects: list[Any] | None = None
    labels: Any = None
    class_names: list[str] | None = None
    regions: list[str] | None = None
    tr: list[float] = field(default_factory=list)


def subject_of(path: Path) -> str:
    """`sub-XX` of a file's name where it has one, else the name.

    >>> subject_of(Path("sub-07_task-rest.csv")), subject_of(Path("anna.nii.gz"))
    ('sub-07', 'anna')
    """
    match = re.search(r"sub-[A-Za-z0-9]+", path.name)
    return match.group() if match else path.name.split(".")[0]
