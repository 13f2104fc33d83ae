"""The page that compares trials: everything is there, and names are escaped."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from tacit.recipe import Recipe
from tacit.report.dots import Dot, dot_chart
from tacit.sweeps.page import collect, near, write_page
from tacit.sweeps.plan import Objective
from tacit.sweeps.result import SweepResult, TrialRow
from tacit.sweeps.space import parse_space

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def result(tmp_path):
    """Five trials: two finished, a pruned, a failed and a waiting one."""
    space = parse_space({"lr": "0.001:1:log", "batch_size": "32,64", "encoder": ["small", EVIL]})
    rows = []
    for i, state in enumerate(["finished", "pruned", "finished", "failed", "waiting"]):
        path = tmp_path / f"trial-{i:04d}"
        path.mkdir()
        (path / "recipe.yaml").write_text(Recipe(data=f"images:{EVIL}").to_yaml())
        (path / "status.json").write_text(json.dumps({"state": state, "step": 8}))
        value = 10.0 + i if i < 3 else None
        values = {"lr": 0.1 / (i + 1), "batch_size": 32, "encoder": EVIL if i % 2 else "small"}
        status = {"rankme": value, "seconds": 70.0, "step": 8, "health": "healthy"}
        rows.append(
            TrialRow(
                i, state, values, value, path, status if i < 3 else {}, 0.75 if i == 0 else None,
                EVIL if state == "failed" else "", i == 0, i == 2,
            )
        )  # fmt: skip
    (tmp_path / "trial-0000" / "report.html").write_text("")
    return SweepResult(EVIL, tmp_path, Objective(), space, rows, [f"be careful {EVIL}"], True, 5)


class Reader(HTMLParser):
    """Tags, and the text of table cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.rows = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.open in ("td", "th", "a"):
            self.rows[-1][-1] += data.strip()


def test_the_table_is_ranked_and_linked(result):
    page = Reader(write_page(result).read_text())
    head, *rows = page.rows
    reasons = rows[5:]
    rows = rows[:5]
    assert head[:5] == ["trial", "state", "lr", "batch_size", "encoder"]
    assert [row[0] for row in rows] == [f"trial-000{i}" for i in (2, 0, 1, 3, 4)]
    assert [row[1] for row in rows] == ["finished", "finished", "pruned", "failed", "waiting"]
    assert rows[0][2] == "0.03333"
    assert reasons == [["trial-0003", "failed", EVIL]]
    assert rows[1][head.index("kNN")] == "0.75"
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert [link for link in links if link.startswith("trial")] == ["trial-0000/report.html"]


def test_names_are_escaped_and_nothing_is_fetched(result):
    text = write_page(result).read_text()
    assert EVIL not in text
    page = Reader(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object"}
    assert not any("src" in attributes for _, attributes in page.tags)
    assert "default-src 'none'" in text


def test_pictures(result):
    found = collect(result)
    assert [picture.title for picture in found["pictures"]] == [
        "History", "lr", "batch_size", "encoder",
    ]  # fmt: skip
    for picture in found["pictures"]:
        assert picture.svg.count("<circle") == 3
        assert picture.svg.count("trial best") == 1
    # Best so far: trial 0 (10), then trial 2 (12); the pruned trial does not count.
    assert found["pictures"][0].svg.count("line s0") == 1


def test_before_any_trial_is_finished(result):
    rows = [row for row in result.trials if row.state in ("failed", "waiting")]
    early = SweepResult("s", result.path, result.objective, result.space, rows, [], False, 5)
    text = write_page(early).read_text()
    assert "No trial is finished" in text
    assert early.best is None
    with pytest.raises(Exception, match="No trial of the study 's' is finished"):
        early.best_run  # noqa: B018


def test_dot_chart():
    dots = [Dot(0.001, 1.0, "a"), Dot(0.1, 1.0, "b", "best")]
    svg = dot_chart(dots, x_label="lr", y_label="rankme", log=True)
    places = [float(part.split('"')[0]) for part in svg.split('cx="')[1:]]
    assert places[0] < places[1]
    assert svg.index("trial own") < svg.index("trial best")  # drawn last, on top
    named = dot_chart([Dot(1, 2.0, EVIL)], x_label="x", y_label="y", names=["a", EVIL * 9])
    assert EVIL not in named
    assert "…" in named


def test_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "a" / "b") == "a/b"
    assert near(tmp_path.parent) == str(tmp_path.parent)
