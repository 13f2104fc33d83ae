"""Inline SVG charts that take their colours from the page, so that they follow its theme."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from tacit.report.axes import Axis, Buckets, buckets, short, value_axis

WIDTH, HEIGHT = 360, 214  # drawn at about this size on a phone and in three columns
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 22, 32
POINTS = 120  # of a curve; more are averaged, with their range as a band
CLASSES = 20  # colours that the page has; the second half is drawn as diamonds


class Series(NamedTuple):
    """One named curve; x ascending, all values finite."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Span(NamedTuple):
    """A shaded part of the x axis and what it means."""

    start: float
    end: float
    label: str


class Reference(NamedTuple):
    """A dashed horizontal line and its name."""

    value: float
    label: str


def svg(css: str, width: int, height: int, label: str, parts: Sequence[Markup]) -> Markup:
    """A drawing with its name for screen readers."""
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        css, width, height, label, Markup("").join(parts)
    )


def _path(x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + "L".join(f"{x(a):g} {y(b):g}" for a, b in zip(xs, ys))


def levels(y: Axis, x_label: str, y_label: str) -> list[Markup]:
    """Levels of the y axis, the base line, and the names of both axes."""
    parts = []
    for tick in y.ticks():
        at = y(tick)
        parts.append(
            Markup('<path class="grid" d="M{} {}H{}"/><text class="end" x="{}" y="{}">{}</text>')
            .format(LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 3.5, short(tick))
        )  # fmt: skip
    parts.append(
        Markup(
            '<path class="base" d="M{0} {1}H{2}"/><text class="mid name" x="{3}" y="{4}">{5}</text>'
            '<text class="name" x="2" y="11">{6}</text>'
        ).format(
            LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4,
            x_label, y_label,
        )
    )  # fmt: skip
    return parts


def ticks(places: Sequence[tuple[float, str]]) -> list[Markup]:
    """Marks below the base line, at (pixel, text)."""
    parts, bottom = [], HEIGHT - BOTTOM
    for at, text in places:
        # Centred on the last tick, a long label would stick out of the drawing.
        css, place = ("mid", at) if at + 3.3 * len(text) <= WIDTH else ("end", WIDTH)
        parts.append(Markup('<path class="tick" d="M{} {}v4"/>').format(at, bottom))
        parts.append(
            Markup('<text class="{}" x="{}" y="{}">{}</text>').format(css, place, bottom + 15, text)
        )
    return parts


def _spans(x: Axis, spans: Sequence[Span]) -> list[Markup]:
    return [
        Markup(
            '<rect class="alarm" x="{}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>'
            '<path class="alarm-edge" d="M{} {}V{}"/>'
        ).format(
            x(s.start), TOP, max(x(s.end) - x(s.start), 1.5), HEIGHT - TOP - BOTTOM, s.label,
            x(s.start), TOP, HEIGHT - BOTTOM,
        )
        for s in spans
    ]  # fmt: skip


def _hits(x: Axis, curves: Sequence[tuple[str, Buckets]], x_label: str) -> list[Markup]:
    """One invisible column a point of the first curve: a guide line and a title on hover."""
    centres = curves[0][1].x
    pixels = [x(value) for value in centres]
    edges = [
        LEFT,
        *((a + b) / 2 for a, b in pairwise(pixels)),
        WIDTH - RIGHT,
    ]
    parts = []
    for i, centre in enumerate(centres):
        lines = [f"{x_label} {short(round(centre))}"]
        for name, points in curves:
            nearest = int(np.abs(np.asarray(points.x) - centre).argmin())
            lines.append(f"{name} {short(points.mean[nearest])}")
        parts.append(
            Markup(
                '<g class="hit"><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
                '<path d="M{} {}V{}"/><title>{}</title></g>'
            ).format(
                edges[i], TOP, edges[i + 1] - edges[i], HEIGHT - TOP - BOTTOM,
                pixels[i], TOP, HEIGHT - BOTTOM, "\n".join(lines),
            )
        )  # fmt: skip
    return parts


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str = "step",
    y_label: str,
    log_y: bool = False,
    zero: bool = False,
    spans: Sequence[Span] = (),
    reference: Reference | None = None,
    x_range: tuple[float, float] | None = None,
) -> Markup:
    """Curves over a common x axis.

    Parameters
    ----------
    series : at least one, none empty; the first is drawn in the accent colour.
    x_label, y_label : names of the axes, with units.
    log_y : logarithmic; all values must be positive.
    zero : the y axis begins at 0.
    spans : shaded parts of the x axis.
    reference : a level to compare with.
    x_range : ends of the x axis; those of the curves by default.
    """
    every_x = [v for s in series for v in s.x]
    every_y = [v for s in series for v in s.y] + ([reference.value] if reference else [])
    first, last = x_range or (min(every_x), max(every_x))
    x = Axis(first, last if last > first else first + 1, LEFT, WIDTH - RIGHT)
    y = value_axis(every_y, HEIGHT - BOTTOM, TOP, log=log_y, zero=zero)
    curves = [(s.name, buckets(s.x, s.y, POINTS)) for s in series]
    whole = [(x(tick), short(tick)) for tick in x.ticks() if tick.is_integer()]  # steps, directions
    parts = [*levels(y, x_label, y_label), *ticks(whole), *_spans(x, spans)]
    if reference:
        at = y(reference.value)
        parts.append(
            Markup(
                '<path class="reference" d="M{} {}H{}"/>'
                '<text class="end ref" x="{}" y="{}">{}</text>'
            ).format(LEFT, at, WIDTH - RIGHT, WIDTH - RIGHT, at - 4, reference.label)
        )
    for i, (_, c) in reversed(list(enumerate(curves))):
        if len(series[i].x) > POINTS:
            outline = _path(x, y, c.x + c.x[::-1], c.high + c.low[::-1])
            parts.append(Markup('<path class="band s{}" d="{}Z"/>').format(i, outline))
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(i, _path(x, y, c.x, c.mean)))
        if len(c.x) == 1:
            parts.append(
                Markup('<circle class="dot s{}" cx="{}" cy="{}" r="3"/>').format(
                    i, x(c.x[0]), y(c.mean[0])
                )
            )
    parts += _hits(x, curves, x_label)
    summary = "; ".join(f"{s.name} from {short(s.y[0])} to {short(s.y[-1])}" for s in series)
    return svg("chart", WIDTH, HEIGHT, f"{y_label} over {x_label}: {summary}", parts)


def scatter(
    points: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    names: Sequence[str] = (),
    label: str,
    side: int = 360,
) -> Markup:
    """A map of points with equal scales on both axes.

    Parameters
    ----------
    points : (n, 2) finite.
    classes : (n,) integers in [0, CLASSES), -1 for none; the colours.
    names : name of each class, shown on hover.
    label : what the map shows, for screen readers.
    side : width and height of the drawing.
    """
    low, high = points.min(0), points.max(0)
    scale = (side - 16) / max(float((high - low).max()), 1e-12)
    place = (points - (low + high) / 2) * scale * [1, -1] + side / 2
    kinds = np.full(len(points), -1) if classes is None else classes
    marks = []
    for (x, y), kind in zip(place.round(1).tolist(), kinds.tolist()):
        css = f"k{kind}" if kind >= 0 else "k"
        title = (
            Markup("<title>{}</title>").format(names[kind]) if 0 <= kind < len(names) else Markup()
        )
        if kind >= CLASSES // 2:
            mark = Markup('<path class="{}" d="M{:g} {:g}l3 3-3 3-3-3z">{}</path>')
            marks.append(mark.format(css, x, y - 3, title))
        else:
            mark = Markup('<circle class="{}" cx="{:g}" cy="{:g}" r="2.5">{}</circle>')
            marks.append(mark.format(css, x, y, title))
    return svg("map", side, side, label, marks)
