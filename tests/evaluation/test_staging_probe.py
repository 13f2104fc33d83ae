"""The staging probe: context on frozen features, unscored epochs, hypnograms of recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tacit.data.series import SeriesSource
from tacit.errors import DataError
from tacit.evaluation import (
    evaluate_embeddings,
    recording_positions,
    save_hypnograms,
    staging_probe,
    staging_scores,
)
from tacit.evaluation.staging_probe import check_recordings


def nights(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Features of epochs that say little of their stage alone; stages in blocks of 10."""
    g = np.random.default_rng(seed)
    stages = np.tile(np.arange(60) // 10 % 2, count)
    x = stages[:, None] + 1.2 * g.normal(size=(60 * count, 3))
    return x, stages, list(np.arange(60 * count).reshape(count, 60))


def test_context_beats_single_epochs_and_unscored_epochs_are_context() -> None:
    x, y, rows = nights(8, 0)
    test_x, test_y, test_rows = nights(4, 1)
    hidden = np.where(np.arange(len(test_y)) % 7 == 0, -1, test_y)
    found = staging_probe((x, y, rows), (test_x, hidden, test_rows), 2, epochs=15)
    alone = evaluate_embeddings(x, y, test_x, test_y, ["linear"])["linear"]["accuracy"]
    assert found.scores.accuracy > alone + 0.02
    assert found.scores[:3] == staging_scores(hidden, found.predicted, 2)[:3]
    assert found.scores.confusion.sum() == (hidden >= 0).sum()
    assert (found.predicted[hidden < 0] >= 0).all()
    metrics = found.metrics(["wake", "sleep"])
    assert list(metrics) == ["accuracy", "macro_f1", "kappa", "f1 wake", "f1 sleep"]
    assert np.isclose(metrics["macro_f1"], (metrics["f1 wake"] + metrics["f1 sleep"]) / 2)


def test_it_repeats_and_does_not_see_the_scale_of_features() -> None:
    train, test = nights(2, 0), nights(1, 1)
    state = torch.get_rng_state()
    first = staging_probe(train, test, 2, epochs=2)
    assert torch.equal(torch.get_rng_state(), state)
    scaled = [(1000 * x + 5, y, rows) for x, y, rows in (train, test)]
    assert np.array_equal(first.predicted, staging_probe(*scaled, 2, epochs=2).predicted)


def test_refused() -> None:
    x, y, rows = nights(2, 0)
    with pytest.raises(DataError, match="no epoch of the test recordings is scored"):
        staging_probe((x, y, rows), (x, y * 0 - 1, rows), 2)
    with pytest.raises(DataError, match="at least 2 windows"):
        staging_probe((x[:9], y[:9], [np.arange(9)]), (x, y, rows), 2)
    with pytest.raises(DataError, match=r"labels must be in 0\.\.1"):
        staging_probe((x, y + 1, rows), (x, y, rows), 2)
    with pytest.raises(DataError, match="NaN"):
        staging_probe((x * np.nan, y, rows), (x, y, rows), 2)
    with pytest.raises(ValueError, match="in their order, not single rows"):
        evaluate_embeddings(x, y, x, y, ["staging"])
    with pytest.raises(DataError, match="no consecutive epochs"):
        check_recordings(SeriesSource("x", np.ones((2, 1, 4))))


def test_recordings_are_apart_where_the_source_says_so() -> None:
    onsets = np.array([0.0, 30, 60, 90])  # the second night lost its first two epochs
    night = np.array([0, 0, 1, 1])
    source = SeriesSource("x", np.ones((4, 1, 2)), rate=1, onsets=onsets, recordings=night)
    assert [rows.tolist() for rows in recording_positions(source)] == [[0, 1], [2, 3]]


def test_a_hypnogram_of_every_recording(tmp_path: Path) -> None:
    source = SeriesSource(
        "x",
        np.ones((5, 1, 2)),
        rate=1,
        onsets=np.array([0.0, 30, 60, 0, 30]),
        recordings=np.array([0, 0, 0, 1, 1]),
        recording_names=["SC4001E0-PSG.edf", "a/../b c"],
        labels=np.array([0, 1, -1, -1, -1]),
    )
    keep = tmp_path / "mine.png"
    keep.touch()
    (tmp_path / "003-old.png").touch()
    paths = save_hypnograms(source, np.array([0, 1, 2, 1, 1]), ["A", "B", "C"], tmp_path)
    assert [path.name for path in paths] == ["001-SC4001E0-PSG.png", "002-a_.._b_c.png"]
    assert sorted(tmp_path.iterdir()) == sorted([*paths, keep])
    assert all(path.stat().st_size > 5000 for path in paths)
    assert source.subset([3]).recording_name(0) == "a/../b c"
    assert SeriesSource("x", np.ones((1, 1, 2))).recording_name(0) == ""
