"""`tacit.sweep`: plan, train with workers, compare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tacit.data.spec import short_name, spec_modality
from tacit.errors import ConfigError, TacitError, did_you_mean
from tacit.methods.base import Method
from tacit.modalities import modality
from tacit.registry import METHODS
from tacit.sweeps.engines import run_local, run_ray
from tacit.sweeps.page import settings, text, write_page
from tacit.sweeps.plan import Objective, Plan
from tacit.sweeps.result import SweepResult, read_result, write_best
from tacit.sweeps.space import combinations, grid, parse_space, split_specs
from tacit.sweeps.storage import require_optuna, storage_url
from tacit.sweeps.study import SharedStudy
from tacit.sweeps.worker import stoppable, work

SAMPLERS = ("tpe", "random", "grid")
ENGINES = ("local", "ray")


def sweep(
    method: str | type[Method] | None = None,
    data: Any = "photos",
    *,
    vary: Mapping[str, Any] | Iterable[str],
    trials: int = 20,
    objective: str = "rankme",
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    storage: str | None = None,
    study: str | None = None,
    out: str | Path | None = None,
    sampler: str | None = None,
    sampler_seed: int = 0,
    prune: bool = True,
    heartbeat: int = 15,
    report: bool = True,
    progress: bool = True,
    **options: Any,
) -> SweepResult:
    """Train many runs that differ in a few recipe fields, and choose one without labels.

    Each trial is an ordinary run in `out`/trial-NNNN. The same call continues a sweep that was
    stopped or killed, or extends it to more `trials`.

    Parameters
    ----------
    method, data, options : as in `tacit.pretrain`, for all trials.
    vary : what is varied: {field: "LOW:HIGH[:log|:STEP]" or a list of values}, or the words of
        the command line ("optimizer.lr=1e-4:1e-1:log").
    trials : how many; a grid has no more than its combinations.
    objective : label-free criterion (see `tacit.evaluation.criteria`) at the end of a run.
    workers : processes that train at the same time, default 1. Ray: tasks, by default one a GPU
        or CPU of the cluster.
    engine : "local", or "ray" for workers on a cluster.
    address : of the Ray cluster ("auto": the one this machine is in); None starts a Ray here.
    storage : URL of the study's database, sqlite:///FILE or postgresql://...; default
        `out`/study.db. Workers on other machines must reach it, and see `out`.
    study : name of the study, default METHOD-DATA.
    out : folder, default sweeps/STUDY.
    sampler : "tpe", "random", or "grid" (finite spaces). By default "grid" where there are no more
        combinations than trials, so that none is trained twice, else "tpe".
    sampler_seed : of the sampler; `seed` is that of the weights, order and views of all trials.
    prune : stop a trial that is below the median of the others at the same point, or whose
        representation collapsed.
    heartbeat : seconds between signs of life; after four missed ones a trial counts as killed and
        is trained again, from its last checkpoint, at most three times.
    report : write the report.html of each trial too.
    progress : show what is going on.

    Returns
    -------
    SweepResult : trials, the best of them, and its run; `out` has report.html and best.yaml.

    Raises
    ------
    ConfigError : an unknown field or a value out of its range, before anything is trained.
    TacitError : the storage cannot be reached, all trials fail, or the disk is full.

    >>> found = sweep("simclr", "digits", vary={"lr": "0.01:1:log"}, epochs=2)  # doctest: +SKIP
    >>> found.best_run.evaluate("knn")  # doctest: +SKIP
    """
    require_optuna()
    for what, name, known in (("sampler", sampler or "tpe", SAMPLERS), ("engine", engine, ENGINES)):
        if name not in known:
            raise ConfigError(
                f"There is no {what} '{name}'.{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
    for what, number in (("trials", trials), ("workers", workers or 1), ("heartbeat", heartbeat)):
        if number < 1:
            raise ConfigError(f"{what} must be at least 1, not {number}.")
    if address is not None and engine != "ray":
        raise ConfigError("--address is where a Ray cluster is: give --engine ray too.")
    if isinstance(method, type):
        method = f"{method.__module__}:{method.__qualname__}"
    specs = dict(vary) if isinstance(vary, Mapping) else split_specs(vary)
    if method is not None and "method" in specs:
        raise ConfigError(f"The method is given ({method}) and varied: leave one out.")
    space = parse_space(specs, _methods(method, data, specs))
    if sampler is None:
        sampler = "grid" if combinations(space) <= trials else "tpe"
    name = study or _name(method, data)
    folder = Path(out or Path("sweeps") / name).absolute()
    plan = Plan(
        method, data, options, space, Objective(objective), trials, folder,
        storage_url(storage, folder), name, sampler, sampler_seed, prune, heartbeat, report,
        os.getcwd(),
    )  # fmt: skip
    if sampler == "grid":
        grid(space)
    plan.check()
    return _run(plan, workers, engine, address, progress)


def _methods(method: str | None, data: Any, specs: Mapping[str, Any]) -> list[Any]:
    """The classes whose options may be varied."""
    if "method" in specs:
        names = parse_space({"method": specs["method"]})["method"].corners()
        return [METHODS.get(str(name)) for name in names]
    return [METHODS.get(method or modality(spec_modality(data)).default_method)]


def _name(method: str | None, data: Any) -> str:
    """`simclr-digits`."""
    spec = data if isinstance(data, str) else getattr(data, "name", "array")
    word = (method or "tacit").rpartition(":")[2]
    return f"{word}-{short_name(spec) or 'data'}"


def _run(
    plan: Plan, workers: int | None, engine: str, address: str | None, progress: bool
) -> SweepResult:
    shared = SharedStudy(plan)
    tell = _Teller(shared, progress)
    with stoppable():
        if shared.done:
            finished = True
        elif engine == "ray":
            finished = run_ray(plan, workers, address, tell)
        elif min(workers or 1, shared.size) > 1:
            finished = run_local(plan, min(workers or 1, shared.size), tell)
        else:
            finished = work(plan, progress=progress, after=tell)
    tell()
    result = read_result(shared, finished and shared.done)
    write_best(result)
    write_page(result)
    reason = shared.hopeless()
    if reason is not None:
        raise TacitError(f"No trial of '{plan.study}' could be trained; the last one: {reason}")
    return result


class _Teller:
    """Says, once each, which trials are over."""

    def __init__(self, shared: SharedStudy, show: bool) -> None:
        self.shared, self.show, self.console = shared, show, Console(stderr=True)
        self.told = {row.number for row in read_result(shared, False).trials if _over(row.state)}

    def __call__(self) -> None:
        if not self.show:
            return
        trials = self.shared.slots()
        new = [n for n, t in trials.items() if t.state.is_finished() and n not in self.told]
        if not new:
            return
        result = read_result(self.shared, False)
        for row in result.trials:
            if row.number in new:
                best = f", best {result.best.name}" if result.best else ""
                value = f"{result.objective.name} {text(row.value)}  " if row.value else ""
                self.told.add(row.number)
                words = f"{row.name} {row.state}  {value}{', '.join(settings(row.values))}"
                count = f"({len(self.told)} of {result.wanted}{best})"
                line = f"{words}  {count}  {row.note}".rstrip()
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _over(state: str) -> bool:
    return state in ("finished", "pruned", "failed")
