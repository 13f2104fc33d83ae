"""Collect everything about a run and write it as one page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from jinja2 import Environment, FunctionLoader, StrictUndefined
from torch import Tensor

from tacit import __version__
from tacit.errors import TacitError
from tacit.report import facts
from tacit.report.charts import CLASSES
from tacit.report.curves import charts
from tacit.report.examples import examples
from tacit.report.maps import maps
from tacit.report.neighbours import neighbour_rows
from tacit.report.sample import Sample, embed_sample, project_sample
from tacit.report.spectrum import SpectrumChart, spectrum_chart
from tacit.training.folder import write_atomic

if TYPE_CHECKING:
    from tacit.run import Run

NAMED_FILES = 50

T = TypeVar("T")


class Section(NamedTuple, Generic[T]):
    """A part of the page, or the reason why it is not there."""

    content: T | None
    reason: str


def attempt(make: Callable[[], T]) -> Section[T]:
    """Data that moved, an encoder that was never saved or a damaged file cost one section only."""
    try:
        return Section(make(), "")
    except (TacitError, OSError, RuntimeError, ValueError) as error:
        return Section(None, str(error) or type(error).__name__)


def write_report(run: Run) -> Path:
    """Write `report.html` into the run folder: self-contained, readable offline.

    Sections whose data or encoder is not there any more are replaced by a sentence with the
    reason. Nothing is fetched by the page, and a content-security policy in it forbids it.

    Parameters
    ----------
    run : finished, interrupted or still running.

    Returns
    -------
    Path of the page.

    Raises
    ------
    TacitError : the run folder cannot be written.

    >>> import tacit
    >>> tacit.load("runs/mine").report()  # doctest: +SKIP
    PosixPath('runs/mine/report.html')
    """
    path: Path = run.folder.report_path
    write_atomic(path, render(collect(run)))
    return path


def render(context: dict[str, Any], page: str = "page.html.j2") -> str:
    """A page as text; every value is escaped, for names of files and classes are not ours."""
    room = files("tacit.report")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: room.joinpath(name).read_text(encoding="utf-8")),
    )
    return environment.get_template(page).render(context)


def collect(run: Run) -> dict[str, Any]:
    """What the template shows."""
    status, metrics = run.status, run.metrics
    skipped = [(str(what), str(why)) for what, why in status.get("skipped", [])]
    sample = attempt(lambda: embed_sample(run))
    return {
        "recipe": run.recipe,
        "data_name": facts.data_name(run.recipe.data),
        "recipe_text": run.recipe.to_yaml(),
        "method": facts.method_facts(run.recipe.method),
        "outcome": facts.outcome(run, status, metrics),
        "verdict": facts.verdict(status, metrics),
        "tiles": facts.tiles(run, status, metrics),
        "probes": facts.probes(run.evaluation),
        "charts": charts(metrics),
        "sample": sample,
        "spectrum": _after(sample, lambda found: _spectrum(run, found)),
        "maps": _after(sample, maps),
        "neighbours": _after(sample, neighbour_rows),
        "examples": attempt(lambda: examples(run)),
        "skipped": skipped[:NAMED_FILES],
        "skipped_count": len(skipped),
        "environment": facts.environment(run),
        "commands": facts.commands(run),
        "classes": CLASSES,
        "version": __version__,
    }


def _after(sample: Section[Sample], make: Callable[[Sample], T]) -> Section[T]:
    found = sample.content
    return Section(None, sample.reason) if found is None else attempt(lambda: make(found))


def _spectrum(run: Run, sample: Sample) -> SpectrumChart:
    spaces: dict[str, Tensor] = {"embeddings": sample.vectors}
    projections = attempt(lambda: project_sample(run, sample))
    if projections.content is not None:
        spaces["projections"] = projections.content
    return spectrum_chart(spaces)
