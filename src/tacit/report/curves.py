"""metrics.csv as charts, with the collapse alarm marked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from markupsafe import Markup

from tacit.evaluation import CollapseAlarm, Health
from tacit.evaluation.select import DIRECTIONS
from tacit.report.axes import short
from tacit.report.charts import Reference, Series, Span, line_chart

# What metrics.csv holds beside the loss and its parts; MORE: what monitor.criteria added.
MONITOR = ("rankme", "stable_rank", "alpha_req", "feature_std", "uniformity", "total_variance")
MORE = tuple(name for name in DIRECTIONS if name not in MONITOR)
OTHER = (
    "step",
    "epoch",
    "seconds",
    "samples_per_second",
    "lr",
    "loss",
    "width",
    "health",
    *MONITOR,
    *MORE,
)
MOST_PARTS = 8

Metrics = dict[str, list[Any]]


class Chart(NamedTuple):
    """A titled chart; `legend` holds the name and last value of each curve."""

    title: str
    note: str
    svg: Markup
    legend: list[tuple[str, str]]


def _series(metrics: Metrics, column: str, name: str) -> Series | None:
    pairs = [
        (step, value)
        for step, value in zip(metrics["step"], metrics.get(column, []))
        if isinstance(value, float) and math.isfinite(value)
    ]
    return Series(name, *map(list, zip(*pairs))) if pairs else None


def looks(metrics: Metrics) -> list[dict[str, Any]]:
    """The rows in which the monitor looked."""
    if "rankme" not in metrics:
        return []
    rows = [dict(zip(metrics, values)) for values in zip(*metrics.values())]
    return [row for row in rows if row["rankme"] is not None and row.get("width") is not None]


def replay(metrics: Metrics) -> list[Health]:
    """The alarm's judgement at every recorded look."""
    alarm = CollapseAlarm()
    return [
        alarm.update(int(row["step"]), {k: v for k, v in row.items() if v is not None})
        for row in looks(metrics)
    ]


def alarm_spans(metrics: Metrics) -> list[Span]:
    """Where the alarm rang: from the first step that it blames to the last that it heard.

    The recorded word decides whether it rang; replaying the looks tells since when.
    """
    spans: list[Span] = []
    rows, before = looks(metrics), ""
    for row, health in zip(rows, replay(metrics)):
        state, step = row.get("health") or health.state, row["step"]
        if "collapse" in state and state == before:
            spans[-1] = spans[-1]._replace(end=step)
        elif "collapse" in state:
            since = health.since_step if health.collapsed else None
            start = step if since is None else min(step, since)
            spans.append(Span(start, step, f"{state} since step {short(start)}"))
        before = state
    if "collapse" in before:  # it still rings at the end of the run
        spans[-1] = spans[-1]._replace(end=metrics["step"][-1])
    return spans


def _chart(
    metrics: Metrics,
    title: str,
    columns: dict[str, str],
    spans: list[Span],
    *,
    note: str = "",
    y_label: str,
    reference: Reference | None = None,
    zero: bool = False,
) -> Chart | None:
    found = [s for column, name in columns.items() if (s := _series(metrics, column, name))]
    if not found:
        return None
    svg = line_chart(
        found,
        y_label=y_label,
        spans=spans,
        reference=reference,
        zero=zero,
        x_range=(metrics["step"][0], metrics["step"][-1]),
    )
    return Chart(title, note, svg, [(s.name, short(s.y[-1])) for s in found])


def charts(metrics: Metrics) -> list[Chart]:
    """All curves of a run; none for a run without a single row."""
    if not metrics.get("step"):
        return []
    spans = alarm_spans(metrics)
    parts = [c for c in metrics if c not in OTHER and _series(metrics, c, c)][:MOST_PARTS]
    rows = looks(metrics)
    width = int(rows[-1]["width"]) if rows else 1
    even = Reference(width**-0.5, "spread evenly") if rows else None
    drawn = [
        _chart(metrics, "Loss", {"loss": "loss"}, spans, y_label="loss"),
        *(_chart(metrics, f"Loss: {name}", {name: name}, spans, y_label=name) for name in parts),
        _chart(
            metrics,
            "Rank",
            {"rankme": "RankMe", "stable_rank": "stable rank"},
            spans,
            y_label=f"effective dimensions of {width}",
            zero=True,
            note="How many directions the projections use. Higher is better; a fall is a warning.",
        ),
        _chart(
            metrics,
            "Feature spread",
            {"feature_std": "feature std"},
            spans,
            y_label="standard deviation of unit vectors",
            zero=True,
            reference=even,
            note="Near zero, every input gets the same output: complete collapse.",
        ),
        _chart(
            metrics,
            "Uniformity",
            {"uniformity": "uniformity"},
            spans,
            y_label="log mean Gaussian potential",
            note="Lower is more evenly spread over the sphere; 0 is a single point.",
        ),
        *(_chart(metrics, name, {name: name}, spans, y_label=name) for name in MORE),
        _chart(metrics, "Learning rate", {"lr": "learning rate"}, [], y_label="lr", zero=True),
    ]
    return [chart for chart in drawn if chart]
