"""`ppg-ieee:FILE`: the wrist pulse (PPG) of 12 subjects, with the heart rate of each window."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tacit.data.mat import read_mat
from tacit.data.series import SeriesSource
from tacit.data.spec import OpenOptions
from tacit.errors import DataError

LOWEST_BPM = 30
RATE = 25.0


def open_ppg_ieee(argument: str | None, options: OpenOptions) -> SeriesSource:
    """Open ``ppg-ieee:FILE``: `IEEE_Small.mat` of the public repository
    eth-siplab/Unsupervised_Periodicity_Detection (folder data_preprocess/IEEE_Small).

    1,768 standardised windows of 8 s at 25 Hz from the IEEE Signal Processing Cup 2015. The label
    is the heart rate as class 0 to 179 (stored value - 1, which is bpm - 31), the group the
    subject; "train" and "test" keep a subject whole.
    """
    if not argument:
        raise DataError(
            "ppg-ieee needs a file: ppg-ieee:PATH/IEEE_Small.mat. It is in the public repository "
            "eth-siplab/Unsupervised_Periodicity_Detection, data_preprocess/IEEE_Small."
        )
    path = Path(argument).expanduser()
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    try:
        cells = read_mat(path)["whole_dataset"]
        windows = [np.asarray(cell, float) for cell in cells[:, 0]]
        stored = [np.asarray(cell).astype(np.int64).ravel() for cell in cells[:, 1]]
        values = np.concatenate(windows)[:, None]
        labels = np.concatenate(stored) - 1
    except (DataError, KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"{path} is not IEEE_Small.mat, a MATLAB file with a cell array whole_dataset of "
            f"windows and heart rates: {error}"
        ) from error
    groups = np.repeat(np.arange(len(windows)), [len(w) for w in windows])
    names = [f"{LOWEST_BPM + stored_value} bpm" for stored_value in range(1, 181)]
    return SeriesSource(
        "ppg-ieee", values, rate=RATE, labels=labels, class_names=names, groups=groups
    ).split(options.split)
