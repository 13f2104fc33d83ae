"""Scales, ticks and short numbers for charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


def short(value: float) -> str:
    """A number in few characters: at most four digits, thousands as k and M.

    >>> short(0.12345), short(1234.0), short(2_500_000), short(-0.00025), short(30.0)
    ('0.1235', '1234', '2.5M', '-2.5e-4', '30')
    """
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= 1e15:
        return f"{value:.1e}"
    if 0 < size < 1e-3:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.4g}{unit}"
    return f"{value:.4g}"


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers within [low, high].

    >>> nice_ticks(0, 97)
    [0.0, 25.0, 50.0, 75.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * m for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    ticks: list[float] = []
    while (first + len(ticks)) * step <= high + 1e-9 * step:
        ticks.append(float(f"{(first + len(ticks)) * step:.12g}"))
    return ticks


def decade_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Powers of ten within [low, high], every second or third where there are many.

    >>> decade_ticks(0.001, 2)
    [0.001, 0.01, 0.1, 1.0]
    """
    first = math.ceil(math.log10(low) - 1e-9)
    last = math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / count))
    return [10.0**power for power in range(last, first - 1, -step)][::-1]


class Axis(NamedTuple):
    """Maps values in [low, high] to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log10(v) for v in (max(value, low), low, high))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values to label."""
        found = decade_ticks(self.low, self.high) if self.log else []
        return found if len(found) > 1 else nice_ticks(self.low, self.high)


def value_axis(
    values: Sequence[float], start: float, end: float, *, log: bool = False, zero: bool = False
) -> Axis:
    """An axis around the values with a little room; never of zero length.

    Parameters
    ----------
    values : finite numbers.
    start, end : pixels of its ends.
    log : powers of ten are equally far apart.
    zero : begin at 0 where all values are positive.
    """
    low, high = min(values), max(values)
    if log:
        return Axis(low * 0.8, high * 1.25, start, end, True)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    bottom = 0.0 if zero and low >= 0 else low - room
    return Axis(bottom, high + room, start, end)


class Buckets(NamedTuple):
    """A long series in few points: centre, mean, lowest and highest of each bucket."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def buckets(x: Sequence[float], y: Sequence[float], limit: int) -> Buckets:
    """At most `limit` buckets of consecutive points; the points themselves where they are few.

    >>> buckets([0, 1, 2, 3], [1, 3, 5, 9], limit=2).mean
    [2.0, 7.0]
    """
    n = len(x)
    count = min(n, limit)
    parts = [(i * n // count, (i + 1) * n // count) for i in range(count)]
    return Buckets(
        [sum(x[a:b]) / (b - a) for a, b in parts],
        [sum(y[a:b]) / (b - a) for a, b in parts],
        [min(y[a:b]) for a, b in parts],
        [max(y[a:b]) for a, b in parts],
    )
