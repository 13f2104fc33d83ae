"""What a sweep found: its trials beside each other, and the one to take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.compare import RunRow, compare_runs
from tacit.errors import TacitError
from tacit.run import Run
from tacit.sweeps.objective import trial_path
from tacit.sweeps.plan import Objective
from tacit.sweeps.space import Space
from tacit.sweeps.study import CLAIMED, ERROR, REASON, SharedStudy, retries
from tacit.training.folder import write_atomic

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
ORDER = tuple(STATES.values())


@dataclass(frozen=True)
class TrialRow:
    """One trial: what was varied, how it ended, and its run."""

    number: int
    state: str
    values: dict[str, Any]
    value: float | None
    path: Path
    status: dict[str, Any]
    accuracy: float | None
    note: str
    retries: int
    best: bool = False

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.path.name


@dataclass(frozen=True)
class SweepResult:
    """All trials in their order, and what to be careful about.

    `finished` is False where the sweep was stopped; the same call continues it.
    """

    study: str
    path: Path
    objective: Objective
    space: Space
    trials: list[TrialRow]
    warnings: list[str]
    finished: bool
    wanted: int

    @property
    def best(self) -> TrialRow | None:
        """The trial that was chosen without labels, None before one is finished."""
        return next((row for row in self.trials if row.best), None)

    @property
    def best_run(self) -> Run:
        """The run of the best trial.

        Raises
        ------
        TacitError : no trial is finished.
        """
        if self.best is None:
            raise TacitError(f"No trial of the study '{self.study}' is finished.")
        return Run(self.best.path)

    @property
    def ranked(self) -> list[TrialRow]:
        """Best first: the finished trials, then those that ended early, then the others."""
        sign = -1 if self.objective.direction == "maximize" else 1

        def key(row: TrialRow) -> tuple[bool, int, float, int]:
            score = self.objective.score({self.objective.name: row.value or 0.0})
            value = float("inf") if row.value is None else sign * score
            return not row.best, ORDER.index(row.state), value, row.number

        return sorted(self.trials, key=key)

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(row.state == state for row in self.trials)


def read_result(shared: SharedStudy, finished: bool) -> SweepResult:
    """The study and its run folders as they are now."""
    plan = shared.plan
    rows = [_row(shared, number, trial) for number, trial in shared.slots().items()]
    rows, notes = _choose(rows, plan.objective)
    return SweepResult(
        plan.study,
        plan.out,
        plan.objective,
        plan.space,
        rows,
        notes,
        finished,
        max(shared.size, len(rows)),
    )


def _row(shared: SharedStudy, number: int, trial: FrozenTrial) -> TrialRow:
    plan, path = shared.plan, trial_path(shared.plan.out, number)
    attributes, state = trial.user_attrs, STATES[trial.state.name]
    status: dict[str, Any] = {}
    accuracy = None
    if (path / "recipe.yaml").is_file():
        run = RunRow.read(path)
        status, accuracy = run.status, run.accuracy()
    value = status.get(plan.objective.name)
    note = {"failed": attributes.get(ERROR), "pruned": attributes.get(REASON)}.get(state)
    if state == "failed" and note is None:
        note = "its worker was killed again and again"
    if state == "running" and attributes.get(CLAIMED) != trial.number:
        state = "waiting"
    return TrialRow(
        number,
        state,
        plan.values(trial.params),
        value,
        path,
        status,
        accuracy,
        note or "",
        retries(trial),
    )


def _choose(rows: list[TrialRow], objective: Objective) -> tuple[list[TrialRow], list[str]]:
    """Mark the best finished trial; `tacit compare` says what to be careful about."""
    able = [row for row in rows if row.state == "finished" and row.value is not None]
    if not able:
        return rows, []
    chosen, notes = str(able[0].path), []
    if len(able) > 1:
        selection = compare_runs([row.path for row in able], objective.name).selection
        chosen, notes = selection.chosen["name"], selection.warnings
    return [replace(row, best=str(row.path) == chosen) for row in rows], notes


def write_best(result: SweepResult) -> Path | None:
    """`best.yaml`, the recipe of the best trial; None before one is finished."""
    if result.best is None:
        return None
    path = result.path / "best.yaml"
    write_atomic(path, (result.best.path / "recipe.yaml").read_text(encoding="utf-8"))
    return path
