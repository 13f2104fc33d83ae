"""Dots over one axis: numbers, powers of ten, or names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from tacit.report.axes import Axis, short, value_axis
from tacit.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, levels, svg, ticks

JITTER = 4.0  # pixels between dots of one name


class Dot(NamedTuple):
    """A dot: x (a number, or the position of its name), y, what it says, and its look:
    best, own or faint."""

    x: float
    y: float
    title: str
    look: str = "own"


def dot_chart(
    dots: Sequence[Dot],
    *,
    x_label: str,
    y_label: str,
    names: Sequence[str] = (),
    log: bool = False,
    whole: bool = False,
    best: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Dots over a common axis, a title on hover.

    Parameters
    ----------
    dots : at least one, all finite.
    x_label, y_label : names of the axes.
    names : what the x positions 0, 1, ... are called; numbers without.
    log : powers of ten are equally far apart.
    whole : ticks at whole numbers only.
    best : corners (x, y) of a stepped line, x ascending.

    Examples
    --------
    >>> "circle" in dot_chart([Dot(1, 2, "a"), Dot(2, 3, "b")], x_label="x", y_label="y")
    True
    """
    heights = [dot.y for dot in dots] + [y for _, y in best]
    y = value_axis(heights, HEIGHT - BOTTOM, TOP)
    if names:
        x = Axis(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT)
        places = [(x(i), _fitting(name, len(names))) for i, name in enumerate(names)]
    else:
        x = value_axis([dot.x for dot in dots], LEFT + 8, WIDTH - RIGHT - 8, log=log)
        marks = [t for t in x.ticks() if t.is_integer() or not whole]
        places = [(x(tick), short(tick)) for tick in marks]
    parts = [*levels(y, x_label, y_label), *ticks(places)]
    if best:
        corners = [f"M{x(best[0][0])} {y(best[0][1])}"]
        corners += [f"H{x(at)}V{y(value)}" for at, value in best[1:]]
        parts.append(Markup('<path class="line s0" d="{}"/>').format("".join(corners)))
    for i, dot in enumerate(sorted(dots, key=lambda dot: dot.look == "best")):
        aside = JITTER * (i % 5 - 2) if names else 0.0
        parts.append(
            Markup('<circle class="trial {}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>')
            .format(dot.look, x(dot.x) + aside, y(dot.y), 5 if dot.look == "best" else 4, dot.title)
        )  # fmt: skip
    label = f"{y_label} over {x_label}: {len(dots)} points"
    return svg("chart", WIDTH, HEIGHT, label, parts)


def _fitting(name: str, count: int) -> str:
    """A name in the room that it has below the axis."""
    room = max(3, (WIDTH - LEFT - RIGHT) // count // 6)
    return name if len(name) <= room else f"{name[: room - 1]}…"
