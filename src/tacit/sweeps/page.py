"""The page that compares the trials of a sweep."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from tacit import __version__
from tacit.report.axes import short
from tacit.report.charts import CLASSES
from tacit.report.dots import Dot, dot_chart
from tacit.report.facts import data_name, duration
from tacit.report.page import render
from tacit.sweeps.result import SweepResult, TrialRow
from tacit.sweeps.space import Dimension, Range
from tacit.training.folder import write_atomic

CRITERIA = ("rankme", "stable_rank", "uniformity", "loss")


class Picture(NamedTuple):
    """A titled chart."""

    title: str
    note: str
    svg: Markup


def write_page(result: SweepResult) -> Path:
    """Write `report.html` into the sweep's folder: self-contained, readable offline.

    Raises
    ------
    TacitError : the folder cannot be written.
    """
    path = result.path / "report.html"
    write_atomic(path, render(collect(result), "sweep.html.j2"))
    return path


def collect(result: SweepResult) -> dict[str, Any]:
    """What the template shows."""
    best = result.best
    recipe = result.best_run.recipe if best else None
    columns = [result.objective.name, *(c for c in CRITERIA if c != result.objective.name)]
    return {
        "study": result.study,
        "data_name": data_name(recipe.data) if recipe else "",
        "objective": result.objective.name,
        "better": better(result),
        "best": best,
        "best_value": text(best.value) if best else "",
        "best_words": settings(best.values) if best else [],
        "tiles": _tiles(result),
        "warnings": result.warnings,
        "pictures": pictures(result),
        "fields": list(result.space),
        "columns": columns,
        "labelled": any(row.accuracy is not None for row in result.trials),
        "reasons": [(row.name, row.state, row.note) for row in result.ranked if row.note],
        "rows": [_cells(row, list(result.space), columns) for row in result.ranked],
        "recipe_text": recipe.to_yaml() if recipe else "",
        "commands": _commands(result),
        "classes": CLASSES,
        "version": __version__,
    }


def better(result: SweepResult) -> str:
    """Which way the objective is better, in words."""
    if result.objective.direction == "maximize":
        return "higher is better"
    if result.objective.score({result.objective.name: 0.0}):
        return "nearer to 1 is better"
    return "lower is better"


def text(value: Any) -> str:
    """A number or another value in few characters."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return short(float(value))


def settings(values: dict[str, Any]) -> list[str]:
    """`["lr = 0.1", ...]`."""
    return [f"{name} = {text(value)}" for name, value in values.items()]


def _tiles(result: SweepResult) -> list[tuple[str, str, str]]:
    early = [f"{result.count(s)} {s}" for s in ("pruned", "failed", "running", "waiting")]
    spent = sum(row.status.get("seconds") or 0.0 for row in result.trials)
    steps = sum(row.status.get("step") or 0 for row in result.trials)
    found = [
        (
            "trials",
            f"{len(result.trials)} of {result.wanted}",
            ", ".join(word for word in early if not word.startswith("0 ")),
        ),
        ("objective", result.objective.name, better(result)),
        ("training time", duration(spent), f"{steps:,} steps in all trials"),
    ]
    again = sum(row.retries for row in result.trials)
    if again:
        found.append(("retried", str(again), "their workers were killed"))
    return found


def _cells(row: TrialRow, fields: list[str], columns: list[str]) -> dict[str, Any]:
    """A row of the table; the page links to the run's own report where it was written."""
    link = f"{row.name}/report.html" if (row.path / "report.html").is_file() else ""
    seconds = row.status.get("seconds")
    return {
        "name": row.name,
        "link": link,
        "best": row.best,
        "state": row.state,
        "health": row.status.get("health") or "",
        "values": [text(row.values.get(name)) for name in fields],
        "numbers": [text(row.status.get(column)) for column in columns],
        "accuracy": text(row.accuracy),
        "time": duration(seconds) if seconds is not None else "",
    }


def pictures(result: SweepResult) -> list[Picture]:
    """The history of the best value, and each varied field against the objective."""
    rows = [r for r in result.trials if r.value is not None and math.isfinite(r.value)]
    if not rows:
        return []
    name = result.objective.name
    note = "The line is the best so far; the large dot was chosen, grey ones ended early."
    dots = [_dot(row, row.number) for row in rows]
    history = dot_chart(dots, x_label="trial", y_label=name, whole=True, best=_record(result, rows))
    fields = [_field(name, field, dimension, rows) for field, dimension in result.space.items()]
    return [Picture("History", note, history), *fields]


def _record(result: SweepResult, rows: list[TrialRow]) -> list[tuple[float, float]]:
    """Corners of the best value so far."""
    name, corners = result.objective.name, []  # type: tuple[str, list[tuple[float, float]]]
    sign = -1 if result.objective.direction == "maximize" else 1
    low = math.inf
    for row in rows:
        score = sign * result.objective.score({name: row.value})
        if row.state == "finished" and score < low and row.value is not None:
            low = score
            corners.append((row.number, row.value))
    return [*corners, (rows[-1].number, corners[-1][1])] if corners else []


def _dot(row: TrialRow, x: float) -> Dot:
    assert row.value is not None
    look = "best" if row.best else "own" if row.state == "finished" else "faint"
    lines = [f"{row.name} ({row.state})", text(row.value), *settings(row.values)]
    return Dot(x, row.value, "\n".join(lines), look)


def _field(objective: str, field: str, dimension: Dimension, rows: list[TrialRow]) -> Picture:
    note = f"Varied over {dimension}."
    if isinstance(dimension, Range):
        dots = [_dot(row, float(row.values[field])) for row in rows]
        svg = dot_chart(dots, x_label=field, y_label=objective, log=dimension.log)
    else:
        places = {text(value): i for i, value in enumerate(dimension.values)}
        dots = [_dot(row, places[text(row.values[field])]) for row in rows]
        svg = dot_chart(dots, x_label=field, y_label=objective, names=list(places))
    return Picture(field, note, svg)


def _commands(result: SweepResult) -> list[tuple[str, str]]:
    if result.best is None:
        return []
    recipe, run = (shlex.quote(near(p)) for p in (result.path / "best.yaml", result.best.path))
    return [
        ("Train the best recipe again", f"tacit pretrain --recipe {recipe}"),
        ("Test the best trial with labels", f"tacit evaluate {run}"),
        ("Use the best trial", f"tacit embed {run} DATA -o vectors.parquet"),
    ]


def near(path: Path) -> str:
    """A path as a user of this folder would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
