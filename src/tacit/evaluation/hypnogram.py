"""The hypnogram: stages of sleep over the night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.evaluation.staging import STAGES, _labels, stage_names, staging_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP_DOWN = ("W", "REM", "N1", "N2", "N3")  # the order of sleep medicine
LINE, REM, WRONG = "#24527a", "#c0392b", "#d35400"


def plot_hypnogram(
    truth: Any,
    predicted: Any = None,
    path: str | Path | None = None,
    *,
    stages: Sequence[str] | None = None,
    epoch_seconds: float | None = 30.0,
    title: str = "Hypnogram",
) -> Figure:
    """Stages over the hours of a night, REM in red; true and predicted below each other.

    Parameters
    ----------
    truth : (n,) integer stages; negative ones (unscored) are gaps.
    predicted : (n,) stages of a model; None draws the truth alone. Where they differ, a tick.
    path : file to write, .png, .svg or .pdf; None writes none.
    stages : names of the classes; W, N1, N2, N3, REM for five classes.
    epoch_seconds : from one epoch to the next; None: the time axis counts epochs.
    title : above the picture; with a prediction accuracy and kappa are added.

    Returns
    -------
    The matplotlib figure.

    Raises
    ------
    ValueError : labels that are not integers, of different lengths, or without a name.

    >>> figure = plot_hypnogram([0, 1, 2, 3, 2, 4, 4, 0], [0, 1, 2, 2, 2, 4, 4, 0])
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['scored', 'predicted']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {"scored": _labels(truth, "truth")}
    if predicted is not None:
        rows["predicted"] = _labels(predicted, "predicted")
    highest = max(int(labels.max(initial=-1)) for labels in rows.values())
    if len({len(labels) for labels in rows.values()}) > 1 or not len(rows["scored"]):
        raise ValueError(
            "truth and predicted must have the same number of epochs, at least one; got "
            f"{' and '.join(str(len(labels)) for labels in rows.values())}"
        )
    names = stages if stages is not None else stage_names(max(5, highest + 1))
    if highest >= len(names):
        raise ValueError(f"stage {highest} has no name: there are {len(names)} names")
    shown = list(TOP_DOWN) if tuple(names) == STAGES else list(names)
    # drawn height of every class: the first shown is on top
    height = np.array([len(shown) - 1 - shown.index(name) for name in names], float)
    figure = Figure(figsize=(10, 1.2 + 1.7 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    hours = np.arange(len(rows["scored"]) + 1) * (epoch_seconds or 3600) / 3600
    for axis, (name, labels) in zip(axes, rows.items(), strict=True):
        level = np.where(labels >= 0, height[labels.clip(0)], np.nan)
        axis.stairs(level, hours, baseline=None, color=LINE, linewidth=1.2)
        if "REM" in names:
            rem = labels == list(names).index("REM")
            axis.hlines(level[rem], hours[:-1][rem], hours[1:][rem], color=REM, linewidth=4)
        axis.set_yticks(range(len(shown)), shown[::-1])
        axis.set_ylim(-0.8, len(shown) - 0.6)
        axis.set_ylabel(name)
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlim(0, hours[-1])
    axes[-1].set_xlabel("hours" if epoch_seconds else "epochs")
    if predicted is not None:
        wrong = (rows["scored"] != rows["predicted"]) & (rows["scored"] >= 0)
        middle = (hours[:-1] + hours[1:])[wrong] / 2
        axes[-1].plot(middle, np.full(len(middle), -0.6), "|", color=WRONG, markersize=5)
        if (rows["scored"] >= 0).any():
            scores = staging_scores(rows["scored"], rows["predicted"], len(names))
            title += f": accuracy {100 * scores.accuracy:.1f} %, kappa {scores.kappa:.2f}"
    figure.suptitle(title)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
