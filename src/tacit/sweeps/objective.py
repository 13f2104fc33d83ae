"""One trial: an ordinary run in its own folder, watched by the pruner."""

from __future__ import annotations

import errno
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.api import open_training
from tacit.errors import TacitError
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.run import Run
from tacit.sweeps.plan import Plan
from tacit.sweeps.study import ERROR, REASON, RUNGS, SharedStudy, slot
from tacit.training.fit import fit
from tacit.training.folder import RunFolder
from tacit.training.monitor import Look

if TYPE_CHECKING:
    from optuna import Trial

log = logging.getLogger("tacit")

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Stopped(Exception):
    """The worker was told to stop; its trial is given back."""


def trial_path(out: Path, number: int) -> Path:
    """Run folder of a trial.

    >>> trial_path(Path("sweeps/lr"), 7).name
    'trial-0007'
    """
    return out / f"trial-{number:04d}"


class Watcher:
    """Tells the study what the monitor saw, and prunes.

    Values are reported at tenths of the run, so that trials with other batch sizes or limits have
    values at the same places.
    """

    def __init__(self, trial: Trial, plan: Plan, reported: int) -> None:
        self.trial, self.plan, self.rung = trial, plan, reported

    def __call__(self, look: Look) -> bool:
        """Whether the run ends here."""
        prune = self.plan.prune and look.fraction < 1
        if prune and look.health.collapsed:
            self.trial.set_user_attr(REASON, look.health.message.partition(";")[0])
            return True
        rung = int(RUNGS * look.fraction + 1e-9)
        value = self.plan.objective.score(look.values)
        if rung <= self.rung or not math.isfinite(value):
            return False
        self.rung = rung
        self.trial.report(value, rung)
        if not (prune and self.trial.should_prune()):
            return False
        self.trial.set_user_attr(
            REASON, f"worse than the median of the trials at {look.fraction:.0%}"
        )
        return True


def run_trial(shared: SharedStudy, trial: Trial, *, progress: bool) -> None:
    """Train a trial and tell the study how it ended; a failure is told, not raised.

    Raises
    ------
    Stopped : Ctrl-C or SIGTERM; the trial waits for who continues the study.
    TacitError : the disk is full or read-only: no other trial would go better.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    plan = shared.plan
    frozen = next(t for t in shared.study.get_trials(deepcopy=False) if t.number == trial.number)
    watcher = Watcher(trial, plan, max(frozen.intermediate_values, default=0))
    path = trial_path(plan.out, slot(frozen))
    value: float | None = None
    try:
        with shared.alive(trial):
            try:
                recipe = plan.recipe(plan.values(trial.params))
                status = train(recipe, plan.data, path, watcher, progress=progress)
                if status["state"] == "interrupted":
                    raise Stopped
                state = TrialState.PRUNED
                if status["state"] == "finished":
                    state, value = TrialState.COMPLETE, plan.objective.score(status)
                    if not math.isfinite(value):
                        raise TacitError(f"{plan.objective.name} is {value} at the end of the run.")
                if plan.report:
                    Run(path).report()
            except (KeyboardInterrupt, Stopped):
                shared.release(trial)
                raise Stopped from None
            except UpdateFinishedTrialError:
                raise
            except Exception as error:
                if _disk(error):
                    shared.release(trial)
                    raise
                state, value = TrialState.FAIL, None
                trial.set_user_attr(
                    ERROR, f"{error}" if isinstance(error, TacitError) else repr(error)
                )
        shared.study.tell(trial, value, state)
    except UpdateFinishedTrialError:
        # Its heartbeats did not arrive in time: another worker goes on in the same run folder.
        log.warning("trial %d was given to another worker", trial.number)


def train(
    recipe: Recipe, data: Any, path: Path, watch: Watcher, *, progress: bool
) -> dict[str, Any]:
    """Begin the run at `path`, or continue one that was killed; its status at the end."""
    begun = (path / "recipe.yaml").is_file()
    folder = RunFolder.open(path) if begun else RunFolder.create(path, recipe.method, recipe.data)
    while folder.is_locked():  # a worker that lost its trial sees that at its next look
        time.sleep(0.5)
    if folder.status().get("state") == "finished":
        return folder.status()
    recipe = folder.recipe if begun else recipe
    source = open_training(data, recipe, progress)
    method = METHODS.get(recipe.method)
    try:
        fit(recipe, folder, method, source, resume=begun, progress=progress, watch=watch)
    finally:
        folder.remove_if_empty()
    return folder.status()


def _disk(error: BaseException | None) -> bool:
    """Whether an error comes from a disk that takes nothing more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            return True
        error = error.__cause__
    return False
