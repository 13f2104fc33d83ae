"""The embedded photographs: sizes, balance, no overlap, the raw-pixel level."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.data import load_photos, open_source
from tacit.data import photos as module
from tacit.errors import DataError


def raw_knn(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weighted kNN (k = 20, temperature 0.07, cosine) predictions on pixels in [0, 1]."""

    def unit(x: np.ndarray) -> np.ndarray:
        x = x.reshape(len(x), -1).astype(np.float32) / 255
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    similarity = unit(test) @ unit(train).T
    nearest = np.argpartition(-similarity, 20, axis=1)[:, :20]
    weight = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.07)
    votes = np.zeros((len(test), 20))
    np.add.at(votes, (np.arange(len(test))[:, None], labels[nearest]), weight)
    return votes.argmax(axis=1)


def test_sizes_and_balance() -> None:
    train, train_labels, names = load_photos("train")
    test, test_labels, _ = load_photos("test")
    assert train.dtype == test.dtype == np.uint8
    assert train.shape == (11936, 1, 32, 32)
    assert test.shape == (1970, 1, 32, 32)
    assert len(names) == len(set(names)) == 20
    assert np.bincount(train_labels).min() >= 500
    assert np.bincount(train_labels).max() == 600
    assert np.bincount(test_labels).min() >= 70
    assert np.bincount(test_labels).max() == 100


def test_patches_are_standardised() -> None:
    images, _, _ = load_photos("test")
    values = (images.reshape(len(images), -1).astype(np.float64) - 127.5) / (127.5 / 3)
    unclipped = ((images > 0) & (images < 255)).all(axis=(1, 2, 3))
    assert unclipped.mean() > 0.2
    half_a_level = (
        3 / 127.5 / 2
    )  # the rounding of patches with few grey levels does not average out
    np.testing.assert_allclose(values[unclipped].mean(axis=1), 0, atol=half_a_level)
    np.testing.assert_allclose(values[unclipped].std(axis=1), 1, atol=half_a_level)


def test_train_and_test_share_no_pixel() -> None:
    photo = np.arange(200, dtype=np.uint8)[None].repeat(64, axis=0)  # the value is the column
    train = module._patches(photo, "train")
    test = module._patches(photo, "test")
    assert train.max() < test.min()
    assert train.max() < 0.7 * 200 <= test.min()


def test_flat_patches_are_left_out() -> None:
    photo = np.full((64, 200), 100, np.uint8)
    photo[:32, :32] = np.tile([90, 110], 16)
    assert len(module._patches(photo, "train")) == len(
        [
            (y, x)
            for y in range(0, 33, 8)
            for x in range(0, 140 - 31, 8)
            if photo[y : y + 32, x : x + 32].std() >= module.MIN_STD
        ]
    )
    assert len(module._patches(np.full((64, 200), 7, np.uint8), "test")) == 0


def test_raw_pixels_reach_about_a_quarter() -> None:
    train, labels, _ = load_photos("train")
    test, test_labels, _ = load_photos("test")
    accuracy = (raw_knn(train, test, labels) == test_labels).mean()
    assert 0.20 < accuracy < 0.28


def test_source() -> None:
    source = open_source("photos", split="test")
    assert source.shape == (1, 32, 32)
    assert len(source) == 1970
    assert len(open_source("photos")) == len(open_source("photos", split="train")) == 11936
    assert source.fingerprint == open_source("photos", split="test").fingerprint
    assert source.fingerprint != open_source("photos").fingerprint


def test_unknown_split_and_argument() -> None:
    with pytest.raises(DataError, match="'train' and 'test'"):
        load_photos("valid")
    with pytest.raises(DataError, match="no argument"):
        open_source("photos:big")


def test_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'nowhere' is missing"):
        module._grey("nowhere", "skimage", "data/nowhere.png")
