"""Choosing among runs without labels, and checking the choice where there are labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tacit.errors import did_you_mean

from .criteria import DIRECTIONS, TARGETS

#: a chosen run with less than this share of the median total variance is suspect
TINY_VARIANCE = 0.1


class Selection(NamedTuple):
    """The chosen run, all runs with their score (best first), and what to be careful about."""

    chosen: dict[str, Any]
    table: list[dict[str, Any]]
    warnings: list[str]


class SelectionReport(NamedTuple):
    """Agreement of a label-free criterion with accuracy over runs."""

    spearman: float
    kendall: float
    regret: float


def _number(value: Any) -> float:
    return float(getattr(value, "value", value))


def _score(criterion: str, value: float) -> float:
    """Larger is better, whatever the criterion's direction."""
    direction = DIRECTIONS[criterion]
    if direction == "target":
        return -abs(value - TARGETS[criterion])
    return value if direction == "higher" else -value


def select_runs(
    results: Sequence[Mapping[str, Any]],
    criterion: str = "rankme",
    tie: Literal["first", "last"] = "first",
    rtol: float = 1e-3,
) -> Selection:
    """Choose the run with the best label-free criterion.

    Only runs of one method on one data set with one projector width can be compared. Runs within
    `rtol` of the best value tie; then the first or the last one in the order given wins, so give
    the runs in the order of the hyper-parameter (the paper's rule for a plateau).

    Parameters
    ----------
    results : one mapping a run, with the criterion's value (a float or a CriterionResult). Used
        for warnings where present: "name", "method", "data", "d" (projector width), "loss",
        "total_variance".
    criterion : name of a criterion.
    tie : which of the tied runs to take.
    rtol : relative tolerance of a tie.

    Returns
    -------
    Selection(chosen, table, warnings).

    References
    ----------
    Garrido et al., RankMe, ICML 2023, figure 4.

    >>> runs = [{"name": "a", "rankme": 12.0}, {"name": "b", "rankme": 30.0}]
    >>> select_runs(runs).chosen["name"]
    'b'
    """
    if criterion not in DIRECTIONS:
        raise ValueError(
            f"unknown criterion {criterion!r}.{did_you_mean(criterion, DIRECTIONS)} "
            f"Known: {', '.join(DIRECTIONS)}."
        )
    if tie not in ("first", "last"):
        raise ValueError(f"tie must be 'first' or 'last', not {tie!r}.")
    missing = [i for i, run in enumerate(results) if criterion not in run]
    if not results or missing:
        raise ValueError(
            f"there is no run to choose from: runs {missing} of {len(results)} have no "
            f"{criterion!r}."
            if missing
            else "there is no run to choose from."
        )
    runs = [dict(run, name=run.get("name", f"run {i}")) for i, run in enumerate(results)]
    values = [_number(run[criterion]) for run in runs]
    scores = [_score(criterion, v) for v in values]
    usable = [i for i, s in enumerate(scores) if math.isfinite(s)]
    if not usable:
        raise ValueError(f"{criterion!r} is NaN or infinite in every run.")
    best = max(scores[i] for i in usable)
    tolerance = rtol * max(abs(values[i]) for i in usable if scores[i] == best)
    tied = [i for i in usable if best - scores[i] <= tolerance]
    pick = tied[0] if tie == "first" else tied[-1]
    order = sorted(
        range(len(runs)), key=lambda i: (i != pick, -scores[i] if i in usable else math.inf, i)
    )
    table = [
        {**runs[i], criterion: values[i], "chosen": i == pick, "tied": i in tied} for i in order
    ]
    notes = _comparability(runs) + _doubts(runs, scores, usable, pick, criterion)
    return Selection(runs[pick], table, notes)


def _comparability(runs: list[dict[str, Any]]) -> list[str]:
    notes = []
    for key, what in [("method", "methods"), ("data", "data sets"), ("d", "projector widths")]:
        seen = sorted({str(run[key]) for run in runs if key in run})
        if len(seen) > 1:
            notes.append(
                f"the runs have different {what} ({', '.join(seen)}): label-free criteria compare "
                "only runs of one method on one data set with one projector width."
            )
    return notes


def _doubts(
    runs: list[dict[str, Any]], scores: list[float], usable: list[int], pick: int, criterion: str
) -> list[str]:
    notes = []
    skipped = [runs[i]["name"] for i in range(len(runs)) if i not in usable]
    if skipped:
        notes.append(f"{criterion} is undefined in {', '.join(skipped)}: left out (collapsed?).")
    variances = [_number(r["total_variance"]) for r in runs if "total_variance" in r]
    if variances and "total_variance" in runs[pick]:
        own = _number(runs[pick]["total_variance"])
        if own < 1e-8 or own < TINY_VARIANCE * float(np.median(variances)):
            notes.append(
                f"the chosen run's embeddings have a tiny total variance ({own:.3g}; median of "
                f"the runs {float(np.median(variances)):.3g}): a scale-free rank then measures "
                "noise. Check the weight of the variance term and probe this run before use."
            )
    with_loss = [i for i in usable if "loss" in runs[i] and math.isfinite(_number(runs[i]["loss"]))]
    if len(with_loss) > 2:
        agreement = rank_correlation(
            [scores[i] for i in with_loss], [-_number(runs[i]["loss"]) for i in with_loss]
        )
        if agreement < -0.5:
            notes.append(
                f"{criterion} and the loss disagree (rank correlation {agreement:.2f}): runs with "
                "the better criterion have the higher loss. If the loss is comparable between "
                "these runs, do not trust this choice without a probe."
            )
    return notes


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; ties get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation with mean ranks for ties; NaN where one side is constant.

    >>> rank_correlation([1, 2, 3], [10, 20, 15])
    0.5
    """
    x, y = _ranks(np.asarray(a, float)), _ranks(np.asarray(b, float))
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm > 0 else math.nan


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b, which corrects for ties; NaN where one side is constant.

    >>> round(kendall_tau([1, 2, 3], [10, 20, 15]), 4)
    0.3333
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    upper = np.triu_indices(len(x), 1)
    dx = np.sign(x[:, None] - x)[upper]
    dy = np.sign(y[:, None] - y)[upper]
    norm = math.sqrt(float(dx @ dx) * float(dy @ dy))
    return float(dx @ dy) / norm if norm > 0 else math.nan


def selection_report(
    values: Sequence[float],
    accuracies: Sequence[float],
    *,
    direction: Literal["higher", "lower"] = "higher",
) -> SelectionReport:
    """How well a label-free criterion would have chosen, given the labelled accuracies.

    Parameters
    ----------
    values : the criterion of each run. accuracies : the probe's accuracy of each run.
    direction : which way the criterion is better.

    Returns
    -------
    SelectionReport(spearman, kendall, regret): both correlations are positive where the criterion
    agrees with accuracy; regret is the best accuracy minus that of the criterion's choice (the
    first of equals), in the accuracies' unit.

    >>> selection_report([6.2, 8.8, 28.2], [96.1, 96.5, 97.1])
    SelectionReport(spearman=1.0, kendall=1.0, regret=0.0)
    """
    if direction not in ("higher", "lower"):
        raise ValueError(f"direction must be 'higher' or 'lower', not {direction!r}.")
    x, y = np.asarray(values, float), np.asarray(accuracies, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"values and accuracies must be two lists of the same length >= 2, not {x.shape} and "
            f"{y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("values and accuracies must be finite: leave out the runs without one.")
    x = x if direction == "higher" else -x
    return SelectionReport(
        rank_correlation(x.tolist(), y.tolist()),
        kendall_tau(x.tolist(), y.tolist()),
        float(y.max() - y[int(x.argmax())]),
    )
