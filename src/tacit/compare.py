"""Runs beside each other: what they are, label-free criteria, and labelled accuracy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tacit.errors import TacitError, did_you_mean
from tacit.evaluation import select_runs, selection_report
from tacit.evaluation.select import DIRECTIONS, Selection, SelectionReport
from tacit.recipe import Recipe
from tacit.training.folder import RunFolder

log = logging.getLogger("tacit")


@dataclass
class RunRow:
    """One run in a list."""

    path: Path
    recipe: Recipe
    status: dict[str, Any]
    rows: dict[str, dict[str, float]]

    @classmethod
    def read(cls, path: Path) -> RunRow:
        """From a run folder, without loading its encoder."""
        folder = RunFolder.open(path)
        evaluation = folder.evaluation()
        rows = {} if evaluation is None else evaluation["rows"]
        return cls(folder.path, folder.recipe, folder.status(), rows)

    def accuracy(self, metric: str = "knn") -> float | None:
        """A labelled metric of the encoder, None where it was not evaluated."""
        return self.rows.get("encoder", {}).get(metric)

    def cells(self) -> list[str]:
        """Texts of `tacit runs`."""
        from tacit.training.progress import clock

        status, knn = self.status, self.accuracy()
        return [
            str(self.path),
            status.get("state", "empty"),
            self.recipe.method,
            self.recipe.data,
            str(status.get("step", "")),
            clock(status["seconds"]) if "seconds" in status else "",
            f"{status['rankme']:.1f}" if "rankme" in status else "",
            status.get("health") or "",
            f"{knn:.3f}" if knn is not None else "",
        ]


def list_runs(folder: str | Path) -> list[RunRow]:
    """All runs directly below a folder, oldest first; a damaged one is left out with a note."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = sorted(p.parent for p in folder.glob("*/recipe.yaml"))
    runs = []
    for path in sorted(found, key=lambda p: p.stat().st_mtime):
        try:
            runs.append(RunRow.read(path))
        except TacitError as error:
            log.warning("'%s' is left out: %s", path, error)
    return runs


class Comparison(NamedTuple):
    """Runs ranked without labels; accuracy by run and their agreement where there are labels."""

    selection: Selection
    accuracy: dict[str, float | None]
    report: SelectionReport | None


def _without(run: RunRow, criterion: str, runs: Sequence[RunRow]) -> str:
    """Why a run has no value of a criterion: a typing error, or nothing recorded."""
    recorded = {name for other in runs for name in other.status} & set(DIRECTIONS)
    if recorded and criterion not in recorded:
        return (
            f"No run has the criterion '{criterion}'.{did_you_mean(criterion, recorded)} "
            f"Recorded: {', '.join(sorted(recorded))}."
        )
    state = run.status.get("state", "empty")
    if state == "finished":
        why = "it was too short or its data too few for the label-free monitor"
    else:
        why = f"it is {state}, and the criteria are recorded when a run stops"
    return f"'{run.path}' has no '{criterion}': {why}. Leave it out."


def compare_runs(paths: Sequence[str | Path], criterion: str = "rankme") -> Comparison:
    """Rank runs by a label-free criterion; beside it labelled accuracy and rank correlation.

    The protocol of RankMe (Garrido et al., 2023, section 4): among runs of one method on one
    dataset that differ in a hyper-parameter, choose the highest; no label is used for the choice.

    Parameters
    ----------
    paths : run folders.
    criterion : a column that the monitor records (`rankme`, `stable_rank`, ...).

    Returns
    -------
    Comparison

    Raises
    ------
    TacitError : fewer than two runs, or a run without the criterion (says why).
    """
    if len(paths) < 2:
        raise TacitError("Comparing needs at least two runs.")
    runs = [RunRow.read(Path(path)) for path in paths]
    results = []
    for run in runs:
        if criterion not in run.status:
            raise TacitError(_without(run, criterion, runs))
        numbers = {k: v for k, v in run.status.items() if isinstance(v, int | float)}
        facts = {"name": str(run.path), "method": run.recipe.method, "data": run.recipe.data}
        results.append({**numbers, **facts, "d": run.status.get("width")})
    selection = select_runs(results, criterion=criterion)
    accuracy = {str(run.path): run.accuracy() for run in runs}
    labelled = [(run.status[criterion], run.accuracy()) for run in runs if run.accuracy()]
    report = selection_report(*zip(*labelled)) if len(labelled) >= 3 else None
    return Comparison(selection, accuracy, report)
