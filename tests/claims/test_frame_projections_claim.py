"""The claim of Frame Projections: its parts on small data, and what its checks say."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tacit.claims import frame_projections as claim
from tacit.errors import DataError

PPG_ROWS = ("median of the labels", "spectral peak")
ROWS = (
    "raw series",
    "untrained time encoder",
    "SimCLR, jitter and scale",
    "time and Fourier, mapped features",
    "time and wavelet, mapped features",
    "Frame Projections, time features",
    "Frame Projections, untrained mappers",
    "Frame Projections, mapped features",
)


def pulses(n: int, bpm: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    t = torch.arange(200) / 25
    rate = torch.tensor([bpm[i % len(bpm)] for i in range(n)])
    x = torch.sin(2 * torch.pi * rate[:, None] / 60 * t)
    x = x + 0.1 * torch.randn(n, 200, generator=torch.Generator().manual_seed(0))
    return x[:, None], rate - 31


def task(n: int = 16, **changes) -> claim.Task:
    x, y = pulses(n, [60, 90, 120])
    values = {
        "pretrain": x,
        "labelled": (x, y),
        "test": (x, y),
        "n_classes": 180,
        "batch_size": 8,
        "steps": 10,
        "scores": claim.heart_rate,
    }
    return claim.Task(**{**values, **changes})


def test_spectral_peak_and_median_find_a_clean_pulse() -> None:
    clean = task()
    assert claim._spectral_peak(clean)["MAE (bpm)"] == 0
    median = claim._median(clean)["MAE (bpm)"]
    assert "Pearson r" not in claim._median(clean)
    assert median == pytest.approx(float(np.mean([30, 0, 30] * 5 + [30])))


def test_every_row_of_a_task_is_there() -> None:
    contrast: claim.Rows = {}
    rows = claim.FrameProjectionsClaim._task("PPG", task(), 0, 0.01, contrast)
    assert set(rows) == {f"PPG: {row}" for row in ROWS}
    assert all(np.isfinite(r["MAE (bpm)"]) for r in rows.values())
    assert len(contrast) == 3
    assert contrast["PPG: loss a pair, Frame Projections"]["chance"] == pytest.approx(np.log(15))


def rows_that_hold() -> claim.Rows:
    rows: claim.Rows = {}
    for title, good, bad in (("PPG", 10.0, 20.0), ("BasicMotions", 90.0, 50.0)):
        metric = "MAE (bpm)" if title == "PPG" else "accuracy"
        for row in ROWS:
            rows[f"{title}: {row}"] = {metric: bad}
        rows[f"{title}: Frame Projections, mapped features"] = {metric: good}
        rows[f"{title}: loss a pair, Frame Projections"] = {
            "chance": 4.0,
            "fifth tenth": 3.5,
            "last tenth": 3.0,
        }
    return rows


@pytest.mark.parametrize(
    ("row", "metric", "value", "sentence"),
    [
        ("PPG: loss a pair, Frame Projections", "last tenth", 4.1, "ends below chance"),
        ("PPG: loss a pair, Frame Projections", "fifth tenth", 2.9, "still falling"),
        ("PPG: untrained time encoder", "MAE (bpm)", 9.0, "no worse than the untrained"),
    ],
)
def test_decisive_checks_fail_where_they_should(
    row: str, metric: str, value: float, sentence: str
) -> None:
    good = rows_that_hold()
    assert all(check.holds for check in claim.FrameProjectionsClaim().checks(good))
    bad = copy.deepcopy(good)
    bad[row][metric] = value
    failed = [c for c in claim.FrameProjectionsClaim().checks(bad) if c.decisive and not c.holds]
    assert any(c.sentence.startswith("PPG") and sentence in c.sentence for c in failed)


def test_subjects_do_not_mix(test_data: Path) -> None:
    ppg = claim.ppg_task(f"ppg-ieee:{test_data / 'ppg-ieee' / 'IEEE_Small.mat'}")
    assert len(ppg.pretrain) == 1768 - 148
    assert len(ppg.test[0]) == 148
    assert len(ppg.labelled[0]) == 148 + 140 + 146 + 146
    test_windows = {row.numpy().tobytes() for row in ppg.test[0]}
    assert not test_windows & {row.numpy().tobytes() for row in ppg.pretrain}
    assert claim._median(ppg)["MAE (bpm)"] == pytest.approx(25.02, abs=0.01)


def test_it_says_which_data_it_needs() -> None:
    with pytest.raises(DataError, match="ppg-ieee:PATH"):
        claim.ppg_task(None)
    with pytest.raises(DataError, match="heart rates with subjects"):
        claim.ppg_task("digits")


def test_basic_motions_is_standardised_by_the_training_series() -> None:
    motions = claim.motions_task()
    assert motions.pretrain.shape == (40, 6, 100)
    torch.testing.assert_close(motions.pretrain.mean((0, 2)), torch.zeros(6), atol=1e-5, rtol=0)
    assert len(motions.test[0]) == 40
