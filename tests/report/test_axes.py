import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.report.axes import Axis, buckets, decade_ticks, nice_ticks, short, value_axis


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-3.14159, "-3.142"),
        (9999.0, "9999"),
        (12_345.0, "12.35k"),
        (250_000.0, "250k"),
        (3e9, "3G"),
        (1.5e-5, "1.5e-5"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_short(value, text):
    assert short(value) == text


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
)
def test_ticks_are_few_inside_and_evenly_spaced(low, length):
    high = low + length
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    ticks = nice_ticks(low, high)
    slack = 1e-6 * (high - low)
    assert 2 <= len(ticks) <= 8
    assert all(low - slack <= t <= high + slack for t in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps) + 1e-9 * max(map(abs, ticks))


def test_decades():
    assert decade_ticks(1e-4, 1) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert decade_ticks(1e-9, 10) == pytest.approx([1e-8, 1e-5, 1e-2, 10])


def test_an_axis_maps_ends_to_ends_also_in_logarithms():
    linear = Axis(2, 4, 100, 0)
    assert [linear(2), linear(3), linear(4)] == [100, 50, 0]
    log = Axis(0.01, 1, 0, 200, log=True)
    assert [log(0.01), log(0.1), log(1)] == [0, 100, 200]
    assert log(0) == 0  # below the axis: at its end, never a math error


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e-30, 0.0], [1e12]])
def test_an_axis_of_constant_values_has_a_length(values):
    axis = value_axis(values, 100, 0)
    assert axis.high > axis.low
    assert all(0 <= axis(v) <= 100 for v in values)
    assert len(axis.ticks()) >= 1


def test_buckets_keep_order_mean_and_extremes():
    x = [float(i) for i in range(1000)]
    y = [math.sin(i / 50) for i in range(1000)]
    y[500] = 9.0  # a single spike must stay visible
    made = buckets(x, y, 100)
    assert len(made.x) == 100
    assert made.x == sorted(made.x)
    assert max(made.high) == 9.0
    assert sum(made.mean) / 100 == pytest.approx(sum(y) / 1000)
    assert buckets([1.0, 2.0], [3.0, 4.0], 100) == ([1.0, 2.0], [3.0, 4.0], [3.0, 4.0], [3.0, 4.0])
