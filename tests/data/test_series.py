"""Series sources: shapes, subsets, statistics and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tacit.data.series import SeriesSource, constant_rows
from tacit.errors import DataError

RNG = np.random.default_rng(0)


def values(n: int = 6, channels: int = 2, times: int = 10) -> np.ndarray:
    return RNG.normal(size=(n, channels, times))


def test_batches_subsets_and_onsets() -> None:
    x = values()
    source = SeriesSource(
        "x", x, rate=4, onsets=np.arange(6.0), recordings=np.arange(6) // 3, labels=np.arange(6)
    )
    assert source.shape == (2, 10)
    assert torch.equal(source.batch([4, 1]), torch.tensor(x[[4, 1]], dtype=torch.float32))
    part = source.subset([5, 3])
    assert part.onsets.tolist() == [5.0, 3.0]
    assert part.recordings.tolist() == [1, 1]
    assert source.subset([1, 4]).recordings.tolist() == [0, 1]
    assert part.labels.tolist() == [5, 3]
    assert torch.equal(part.batch([1]), source.batch([3]))
    assert part.fingerprint != source.fingerprint
    assert SeriesSource("other name", x, labels=np.arange(6)).fingerprint == source.fingerprint


def test_a_batch_is_a_copy() -> None:
    source = SeriesSource("x", values())
    source.batch([0]).zero_()
    assert source.batch([0]).abs().sum() > 0


def test_groups_are_not_divided_by_a_split() -> None:
    groups = np.repeat(np.arange(10), 3)
    source = SeriesSource("x", values(30), groups=groups)
    train, test = source.split("train"), source.split("test")
    assert set(train.groups) & set(test.groups) == set()
    assert len(train) + len(test) == 30
    assert len(set(test.groups)) == 2


def test_statistics_against_numpy() -> None:
    x = values(1500) * np.array([3.0, 0.5])[:, None] + np.array([100.0, -1.0])[:, None]
    x = x.astype(np.float32)
    mean, std = SeriesSource("x", x).statistics()
    np.testing.assert_allclose(mean, x.astype(float).mean((0, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, x.astype(float).std((0, 2)), rtol=1e-7)
    part_mean, _ = SeriesSource("x", x).subset([7]).statistics()
    np.testing.assert_allclose(part_mean, x[7].astype(float).mean(1), rtol=1e-9)


def test_a_constant_channel_is_normalised_to_zero_not_to_nan() -> None:
    x = values()
    x[:, 1] = 5.0
    mean, std = SeriesSource("x", x).statistics()
    assert (mean[1], std[1]) == (5.0, 1.0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 4)), "insert the axis"),
        (np.zeros((0, 1, 4)), "no values"),
        (np.array([[["a"]]]), "not a time series of numbers"),
        (np.full((2, 1, 3), np.nan), "2 of 2 series have missing"),
        (np.array([[[1.0]], [[np.inf]]]), "the first at position 1"),
        (np.full((1, 1, 2), 1e39), "infinite"),
    ],
)
def test_refused(bad: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SeriesSource("x", bad)


def test_refuses_a_rate_of_zero() -> None:
    with pytest.raises(DataError, match="not above 0"):
        SeriesSource("x", values(), rate=0)


def test_constant_series() -> None:
    x = values()
    x[2] = np.array([1.0, 2.0])[:, None]  # constant, each channel its own value
    x[3, 0] = 7.0  # one channel still varies
    with pytest.raises(DataError, match="1 of 6 series are constant"):
        constant_rows(x, "x", "error")
    assert constant_rows(x, "x", "drop").tolist() == [True, True, False, True, True, True]
    assert constant_rows(x, "x", "keep").all()
    with pytest.raises(DataError, match="2 of 2"):
        constant_rows(np.ones((2, 1, 4)), "x", "drop")
