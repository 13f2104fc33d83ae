import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tacit.report.charts import (
    HEIGHT,
    LEFT,
    POINTS,
    RIGHT,
    WIDTH,
    Reference,
    Series,
    Span,
    line_chart,
    scatter,
)

BAD = '<script>alert("x")</script>&'


def points_of(path):
    return np.array([float(v) for v in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)


def by_class(svg, name):
    return [e for e in ET.fromstring(svg).iter() if name in e.get("class", "").split()]


def test_a_line_goes_through_its_values():
    svg = line_chart([Series("a", [0, 5, 10], [0.0, 10.0, 5.0])], y_label="y")
    (line,) = by_class(svg, "line")
    found = points_of(line.get("d"))
    assert found[:, 0].tolist() == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    first, top, middle = found[:, 1]
    assert top < middle < first  # y grows downwards
    assert middle == pytest.approx((first + top) / 2, abs=0.1)


def test_everything_stays_inside_the_drawing():
    rng = np.random.default_rng(0)
    series = [
        Series(str(i), list(range(500)), (rng.normal(size=500) * 10**i).tolist()) for i in (0, 1)
    ]
    svg = line_chart(series, y_label="y", reference=Reference(50.0, "level"))
    for element in [*by_class(svg, "line"), *by_class(svg, "band")]:
        found = points_of(element.get("d"))
        assert (found >= 0).all()
        assert (found <= [WIDTH, HEIGHT]).all()
    assert len(by_class(svg, "band")) == 2
    assert all(len(points_of(e.get("d"))) == POINTS for e in by_class(svg, "line"))


def test_the_alarm_is_shaded_from_its_first_step():
    curve = [Series("rank", [0, 100], [1.0, 2.0])]
    svg = line_chart(curve, y_label="y", spans=[Span(60, 100, "collapse since step 60")])
    (area,) = by_class(svg, "alarm")
    width = WIDTH - RIGHT - LEFT
    assert float(area.get("x")) == pytest.approx(LEFT + 0.6 * width, abs=0.1)
    assert float(area.get("width")) == pytest.approx(0.4 * width, abs=0.1)
    assert area[0].text == "collapse since step 60"


def test_hover_titles_give_every_curve_its_nearest_value():
    svg = line_chart([Series("a", [1, 2], [3.0, 4.0]), Series("b", [2], [7.0])], y_label="y")
    titles = [g.find("title").text for g in by_class(svg, "hit")]
    assert titles == ["step 1\na 3\nb 7", "step 2\na 4\nb 7"]


def test_a_single_point_and_a_common_range():
    svg = line_chart([Series("a", [5], [3.0])], y_label="y", x_range=(0, 10))
    (dot,) = by_class(svg, "dot")
    assert float(dot.get("cx")) == pytest.approx((LEFT + WIDTH - RIGHT) / 2)


def test_names_are_escaped():
    svg = line_chart([Series(BAD, [0, 1], [1.0, 2.0])], y_label=BAD, x_label=BAD,
                     spans=[Span(0, 1, BAD)], reference=Reference(1.0, BAD))  # fmt: skip
    svg += scatter(np.eye(2), classes=np.array([0, 1]), names=[BAD, BAD], label=BAD)
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_a_map_keeps_distances_and_marks_classes():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    svg = scatter(
        points, classes=np.array([0, 3, 12, -1]), names=[str(i) for i in range(13)], label="m"
    )
    (a,), (b,) = by_class(svg, "k0"), by_class(svg, "k3")
    assert float(b.get("cx")) - float(a.get("cx")) == pytest.approx(344)
    assert float(a.get("cy")) == float(b.get("cy"))
    (diamond,) = by_class(svg, "k12")
    assert diamond.tag.endswith("path")  # the second ten colours differ in shape too
    assert diamond[0].text == "12"
    (plain,) = by_class(svg, "k")
    assert len(plain) == 0
    assert 0 < float(plain.get("cy")) < 360


def test_a_map_of_one_repeated_point_is_drawn():
    svg = scatter(np.zeros((5, 2)), label="collapsed")
    assert len(by_class(svg, "k")) == 5
