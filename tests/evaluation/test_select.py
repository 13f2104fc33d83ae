"""Selection among runs without labels, its warnings, and the agreement with accuracy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tacit.evaluation import CriterionResult, select_runs, selection_report


def runs(*values: float, **more: list) -> list[dict]:
    rows = [{"rankme": v, "name": str(i)} for i, v in enumerate(values)]
    for key, column in more.items():
        for row, value in zip(rows, column):
            row[key] = value
    return rows


def test_highest_rank_wins_and_the_table_is_ordered() -> None:
    selection = select_runs(runs(6.2, 28.2, 15.6))
    assert selection.chosen["name"] == "1"
    assert [row["name"] for row in selection.table] == ["1", "2", "0"]
    assert [row["chosen"] for row in selection.table] == [True, False, False]
    assert selection.warnings == []


def test_plateau() -> None:
    plateau = runs(5.0, 28.20, 28.21, 28.205)
    assert select_runs(plateau).chosen["name"] == "1"
    assert select_runs(plateau, tie="last").chosen["name"] == "3"
    assert select_runs(plateau, rtol=0.0).chosen["name"] == "2"
    assert sum(row["tied"] for row in select_runs(plateau).table) == 3


def test_directions() -> None:
    rows = [{"alpha_req": 0.2, "coherence": 3.0}, {"alpha_req": 1.1, "coherence": 9.0}]
    rows.append({"alpha_req": 2.5, "coherence": 5.0})
    assert select_runs(rows, "alpha_req").chosen["name"] == "run 1"
    assert select_runs(rows, "coherence").chosen["name"] == "run 0"


def test_accepts_criterion_results() -> None:
    rows = [{"rankme": CriterionResult(v, "higher", (1.0, 64.0))} for v in (3.0, 9.0)]
    selection = select_runs(rows)
    assert selection.chosen["name"] == "run 1"
    assert selection.table[0]["rankme"] == 9.0


def test_warns_of_tiny_variance() -> None:
    # A weak variance term: the norm shrinks to noise while the scale-free rank stays high.
    shrunk = runs(34.5, 16.1, 15.6, 21.0, total_variance=[0.03, 20.0, 29.0, 31.0])
    assert "tiny total variance" in select_runs(shrunk).warnings[0]
    fine = runs(34.5, 16.1, total_variance=[25.0, 29.0])
    assert select_runs(fine).warnings == []


def test_warns_where_rank_and_loss_disagree() -> None:
    assert "disagree" in select_runs(runs(1, 2, 3, 4, loss=[1.0, 2.0, 3.0, 4.0])).warnings[0]
    assert select_runs(runs(1, 2, 3, 4, loss=[4.0, 3.0, 2.0, 1.0])).warnings == []


def test_warns_of_incomparable_and_undefined_runs() -> None:
    notes = select_runs(runs(1, 2, method=["byol", "simclr"], d=[64, 128])).warnings
    assert "methods (byol, simclr)" in notes[0]
    assert "widths" in notes[1]
    selection = select_runs(runs(math.nan, 2.0))
    assert selection.chosen["name"] == "1"
    assert "left out" in selection.warnings[0]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no run"):
        select_runs([])
    with pytest.raises(ValueError, match=r"runs \[1\] of 2 have no"):
        select_runs([{"rankme": 1.0}, {}])
    with pytest.raises(ValueError, match="Did you mean 'rankme'"):
        select_runs(runs(1), "rankm")
    with pytest.raises(ValueError, match="NaN"):
        select_runs(runs(math.nan))


def test_report_of_the_published_sweep() -> None:
    rank, knn = [6.2, 6.7, 8.8, 15.6, 28.2], [96.1, 96.1, 96.5, 97.1, 97.1]
    report = selection_report(rank, knn)
    assert report.spearman == pytest.approx(0.95, abs=0.01)
    assert report.regret == 0.0
    bad = selection_report([33.2, 34.5, 16.1, 15.6, 21.0], [94.6, 94.7, 95.0, 97.1, 96.9])
    assert bad.spearman == pytest.approx(-0.8)
    assert bad.regret == pytest.approx(2.4)
    assert selection_report([3, 2, 1], [1, 2, 3], direction="lower").spearman == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_correlations_equal_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    report = selection_report(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(report.spearman)
        assert math.isnan(report.kendall)
        return
    assert report.spearman == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert report.kendall == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)


def test_report_bad_input() -> None:
    with pytest.raises(ValueError, match="same length"):
        selection_report([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        selection_report([1.0, math.nan], [1.0, 2.0])
