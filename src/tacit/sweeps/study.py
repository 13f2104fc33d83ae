"""One study that many workers share: who trains which trial, and what is over."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from tacit.errors import ConfigError, TacitError
from tacit.seeds import seed_of
from tacit.sweeps.plan import Plan
from tacit.sweeps.space import grid
from tacit.sweeps.storage import open_storage, without_password

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

log = logging.getLogger("tacit")

DEFINITION, CLAIMED, ERROR, REASON = "tacit", "claimed", "error", "reason"
RUNGS = 10  # trials are compared at each tenth of their runs
FIRST_RUNG = 3  # not before: early ranks say little
STARTUP = 4  # trials that must be complete before one is pruned
HOPELESS = 3  # failures without a success end a sweep


def slot(trial: FrozenTrial) -> int:
    """Number of the trial, of the first one for a retry: a retry goes on in its run folder."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def retries(trial: FrozenTrial) -> int:
    """How often its workers were killed before."""
    return len(trial.system_attrs.get("retry_history", ()))


class SharedStudy:
    """The study of a plan, as one worker sees it.

    Taking a trial happens under a file lock in the sweep's folder, which all workers share: none
    is handed out twice, and never more than the plan wants.
    """

    def __init__(self, plan: Plan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan = plan
        plan.out.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(plan.out / ".lock")
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if plan.prune:
            pruner = optuna.pruners.MedianPruner(STARTUP, FIRST_RUNG, n_min_trials=2)
        with self._lock:  # two that make the same tables at once are in each other's way
            self.storage = open_storage(plan.storage, plan.heartbeat)
            self.study: Study = optuna.create_study(
                storage=self.storage,
                study_name=plan.study,
                direction=plan.objective.direction,
                pruner=pruner,
                load_if_exists=True,
            )
            self._check()

    def _check(self) -> None:
        """Raise TacitError where the study is of another plan, or holds what no sweep wrote."""
        try:
            self._same_plan()
            for trial in self.study.get_trials(deepcopy=False):
                slot(trial), retries(trial), self.plan.values(trial.params)
        except TacitError:
            raise
        except Exception as error:  # of SQLAlchemy, JSON and Optuna, and of what is read from them
            raise TacitError(
                f"The study '{self.plan.study}' in '{without_password(self.plan.storage)}' is "
                f"damaged ({type(error).__name__}: {error}). Restore it from a copy, or give "
                f"another --study; the runs in '{self.plan.out}' do not need it."
            ) from error

    def _same_plan(self) -> None:
        """Raise ConfigError where the study is of another plan; a new one is marked."""
        own, name = self.plan.definition(), self.plan.study
        known = self.study.user_attrs.get(DEFINITION)
        if known is None:
            if self.study.get_trials(deepcopy=False):
                raise ConfigError(
                    f"The study '{name}' is not one of tacit's: give another --study."
                )
            self.study.set_user_attr(DEFINITION, own)
        elif known != own:
            other = [f"{key} was {known.get(key)}" for key in own if known.get(key) != own[key]]
            raise ConfigError(
                f"The study '{name}' was begun differently: {'; '.join(other)}. Repeat that "
                "command to continue it, or give another --study."
            )

    def slots(self) -> dict[int, FrozenTrial]:
        """The newest trial of each slot; a retry replaces the one that was killed."""
        trials = self.study.get_trials(deepcopy=False)
        newest = {slot(t): t for t in sorted(trials, key=lambda t: t.number)}
        return dict(sorted(newest.items()))

    @property
    def done(self) -> bool:
        """All trials of the plan are over."""
        slots = self.slots()
        return len(slots) >= self.size and all(t.state.is_finished() for t in slots.values())

    @property
    def size(self) -> int:
        """How many trials the plan wants; a grid has no more than its combinations."""
        return min(self.plan.trials, len(grid(self.plan.space))) if self._grid else self.plan.trials

    @property
    def _grid(self) -> bool:
        return self.plan.sampler == "grid"

    def hopeless(self) -> str | None:
        """The last error where trials only fail."""
        from optuna.trial import TrialState

        over = [t for t in self.slots().values() if t.state.is_finished()]
        if len(over) < min(HOPELESS, self.size) or any(t.state != TrialState.FAIL for t in over):
            return None
        return str(over[-1].user_attrs.get(ERROR, "their workers were killed"))

    def claim(self) -> Trial | None:
        """A trial to train now, None where all are taken (some may still be running)."""
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ask() expects Optuna's own loop to send heartbeats
            self._requeue_lost()
            slots = self.slots()
            waiting = any(t.state.name == "WAITING" for t in slots.values())
            if not waiting and len(slots) >= self.size:
                return None
            if not waiting and self._grid:
                self.study.enqueue_trial(grid(self.plan.space)[len(slots)])
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            space = {name: field.distribution() for name, field in self.plan.space.items()}
            trial = self.study.ask(space)
            self.storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(CLAIMED, trial.number)
            return trial

    def _requeue_lost(self) -> None:
        """Queue again what a killed worker was training: the sign of life is too old, or, killed
        while it took the trial, it never gave one."""
        import optuna

        optuna.storages.fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False):
            running = trial.state == optuna.trial.TrialState.RUNNING
            if running and trial.user_attrs.get(CLAIMED) != trial.number:
                self.storage.set_trial_state_values(
                    trial._trial_id, optuna.trial.TrialState.WAITING
                )

    def _sampler(self, number: int) -> BaseSampler:
        """Seeded by the trial, so that neither workers nor a continued study repeat draws."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = seed_of(self.plan.seed, number) % 2**32
        if self.plan.sampler == "tpe":
            return TPESampler(seed=seed, constant_liar=True)
        return RandomSampler(seed)

    def release(self, trial: Trial) -> None:
        """Give a trial back, for whoever continues the study."""
        from optuna.trial import TrialState

        self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Send heartbeats of a trial while the block runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.plan.heartbeat):
                try:
                    self.storage.record_heartbeat(trial._trial_id)
                except Exception as error:  # a database that is away for a moment
                    log.warning("no heartbeat of trial %d: %s", trial.number, error)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
