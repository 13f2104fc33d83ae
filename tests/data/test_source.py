"""The contract of a source."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.data import ImageSource, open_source
from tacit.data.base import _scattered
from tacit.data.source import ArrayPixels
from tacit.errors import DataError


def make(n: int = 10, shape: tuple[int, int, int] = (3, 4, 5), **options: object) -> ImageSource:
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    options.setdefault("fingerprint", "f")
    return ImageSource("made", ArrayPixels(images), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: np.array(x, np.uint8)])
def test_batch_is_in_order_and_uint8(kind: type) -> None:
    source = make()
    everything = source.batch(np.arange(10))
    batch = source.batch(kind([7, 1, 1]))
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous()
    assert torch.equal(batch, everything[[7, 1, 1]])


def test_batch_is_a_copy() -> None:
    source = make()
    before = source.batch([0]).clone()
    source.batch([0]).zero_()
    assert torch.equal(source.batch([0]), before)


def test_empty_batch() -> None:
    assert make().batch([]).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("bad", [[10], [-1], [0.5], [[1, 2]], [True]])
def test_bad_indices(bad: list) -> None:
    with pytest.raises(IndexError, match="made"):
        make().batch(bad)


def test_statistics_are_those_of_the_pixels() -> None:
    source = make(600)
    x = source.batch(range(600)).double() / 255
    mean, std = source.statistics()
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(std, x.std((0, 2, 3), unbiased=False), rtol=1e-9)


def test_statistics_of_constant_images_can_be_divided_by() -> None:
    source = open_source(np.full((3, 8, 8), 51, np.uint8))
    mean, std = source.statistics()
    assert mean == pytest.approx([0.2])
    assert std == pytest.approx([1 / 255])


def test_subset_keeps_labels_and_changes_fingerprint() -> None:
    source = make(labels=np.arange(10), class_names=[str(i) for i in range(10)])
    part = source.subset([8, 3, 5])
    again = part.subset([2, 0])
    assert part.labels is not None
    assert part.labels.tolist() == [8, 3, 5]
    assert again.labels is not None
    assert again.labels.tolist() == [5, 8]
    assert torch.equal(again.batch([0, 1]), source.batch([5, 8]))
    assert len({source.fingerprint, part.fingerprint, again.fingerprint}) == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 500))
def test_split_is_a_partition(n: int) -> None:
    source = make(n, (1, 1, 1), labels=np.arange(n))
    try:
        train, test = source.split("train").labels, source.split("test").labels
    except DataError:
        assert round(0.2 * n) == 0
        return
    assert train is not None
    assert test is not None
    assert len(test) == round(0.2 * n)
    assert sorted([*train, *test]) == list(range(n))


def test_split_is_scattered_and_fixed() -> None:
    mask = _scattered(1000, 200)
    assert np.flatnonzero(_scattered(10, 2)).tolist() == [2, 4]  # the same in every version
    assert 150 < mask[:500].sum() * 2 < 250


def test_all_is_the_source_itself() -> None:
    source = make()
    assert source.split("all") is source
    assert open_source(source) is source
    assert len(open_source(source, split="test")) == 2


def test_too_small_to_split() -> None:
    with pytest.raises(DataError, match="too few"):
        make(2).split("test")


def test_labels_must_fit() -> None:
    with pytest.raises(DataError, match="3 labels for 10"):
        make(labels=np.zeros(3, np.int64))


def test_pickles() -> None:
    source = make()
    assert torch.equal(pickle.loads(pickle.dumps(source)).batch([4]), source.batch([4]))


def test_grey_images_in_colour() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    grey = open_source((images, np.arange(10)))
    colour = grey.in_colour()
    assert colour.shape == (3, 8, 8)
    assert torch.equal(colour.batch([3, 1]), grey.batch([3, 1]).expand(2, 3, 8, 8))
    assert (colour.fingerprint, colour.labels[3]) == (grey.fingerprint, 3)
    assert colour.subset([5]).batch([0]).shape == (1, 3, 8, 8)
    assert colour.statistics()[0] == pytest.approx(grey.statistics()[0] * 3)
    with pytest.raises(DataError, match="not grey"):
        colour.in_colour()
