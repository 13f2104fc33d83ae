"""Arrays in memory, npz files and the digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tacit.data import open_source
from tacit.errors import DataError


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_layouts_agree() -> None:
    channels_last = random(6, 9, 8, 3)
    expected = torch.from_numpy(channels_last.transpose(0, 3, 1, 2).copy())
    for form in (
        channels_last,
        torch.from_numpy(channels_last),
        expected,
        expected.numpy(),
        list(channels_last),
        channels_last.astype(np.float32) / 255,
        channels_last.astype(np.float64) / 255,
        expected.to(torch.float16) / 255,
    ):
        source = open_source(form)
        assert source.shape == (3, 9, 8)
        # half precision cannot hold every level
        slack = 1 if getattr(form, "dtype", None) is torch.float16 else 0
        assert (source.batch(range(6)).int() - expected.int()).abs().max() <= slack


def test_grey() -> None:
    images = random(5, 7, 6)
    for form in (images, images[:, None], images[..., None]):
        assert torch.equal(open_source(form).batch([2])[0, 0], torch.from_numpy(images[2]))


def test_ambiguous_layout_follows_the_library() -> None:
    images = random(2, 3, 4, 3)
    assert open_source(images).shape == (3, 3, 4)
    assert open_source(torch.from_numpy(images)).shape == (3, 4, 3)


def test_labels_go_along() -> None:
    source = open_source((random(10, 4, 4), np.arange(10)), split="test")
    assert source.labels is not None
    assert len(source.labels) == len(source) == 2


def test_booleans_become_black_and_white() -> None:
    mask = np.eye(4, dtype=bool)[None]
    assert open_source(mask).batch([0]).unique().tolist() == [0, 255]


def test_image_size() -> None:
    assert open_source(random(3, 20, 30, 3), image_size=8).shape == (3, 8, 8)
    flat = open_source(np.full((2, 9, 12), 77, np.uint8), image_size=5)
    assert (flat.batch([0, 1]) == 77).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 8, 8), np.uint8), "no pixels"),
        (np.zeros((4, 0, 8), np.uint8), "no pixels"),
        (np.zeros((8, 8), np.uint8), "is not \\(N, H, W\\)"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), "is not \\(N, H, W\\)"),
        (np.zeros((4, 8, 8, 5), np.uint8), "1 or 3 channels"),
        (np.zeros((4, 8, 8), np.int64), "no agreed range"),
        (np.full((4, 8, 8), np.nan, np.float32), "image 0 has NaN"),
        (np.full((4, 8, 8), 200.0), "must be in 0..1"),
        (np.full((4, 8, 8), -0.5), "must be in 0..1"),
        (np.array([["a"]]), "is not images"),
        (np.array([np.zeros(2), None], dtype=object), "is not images"),
        (np.zeros((3, 4, 4), np.complex64), "is not images"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)], "image 1 has shape"),
        ([], "empty"),
        ((np.zeros((4, 4, 4), np.uint8), np.zeros(3, int)), "4 integers"),
        ((np.zeros((4, 4, 4), np.uint8), np.zeros(4)), "4 integers"),
    ],
)
def test_bad_arrays(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(data)


def test_nan_is_located() -> None:
    images = np.zeros((2000, 4, 4), np.float32)
    images[1500, 2, 2] = np.inf
    with pytest.raises(DataError, match="image 1500"):
        open_source(images)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        dtype=st.one_of(
            hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes(), st.just(np.uint8)
        ),
        shape=hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4),
    )
)
def test_any_array_opens_or_explains(array: np.ndarray) -> None:
    try:
        source = open_source(array)
    except DataError:
        return
    batch = source.batch(range(len(source)))
    assert batch.dtype == torch.uint8
    assert batch.numel() == array.size


def test_npz_one_set(tmp_path: Path) -> None:
    images, labels = random(10, 8, 8, 3), np.arange(10)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    source = open_source(f"npz:{tmp_path / 'a.npz'}")
    assert len(source) == 10
    assert source.labels is not None
    assert source.labels.tolist() == list(range(10))
    assert len(open_source(f"npz:{tmp_path / 'a.npz'}", split="test")) == 2


@pytest.mark.parametrize("form", ["{key}_{side}", "{side}_{key}"])
def test_npz_with_splits(tmp_path: Path, form: str) -> None:
    arrays = {}
    for side, n in (("train", 6), ("test", 3)):
        arrays[form.format(key="images", side=side)] = random(n, 8, 8)
        arrays[form.format(key="labels", side=side)] = np.full((n, 1), n)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    spec = f"npz:{tmp_path / 'b.npz'}"
    assert [len(open_source(spec, split=s)) for s in ("all", "train", "test")] == [6, 6, 3]
    labels = open_source(spec, split="test").labels
    assert labels is not None
    assert labels.tolist() == [3, 3, 3]


def test_npz_refuses_pickles(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "owned",))

    np.savez(tmp_path / "c.npz", images=np.array([Evil()], dtype=object))
    with pytest.raises(DataError, match="refused"):
        open_source(f"npz:{tmp_path / 'c.npz'}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY", b"text"])
def test_npz_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"d\.npz"):
        open_source(f"npz:{tmp_path / 'd.npz'}")


def test_npz_without_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", weights=np.zeros(3))
    with pytest.raises(DataError, match="weights"):
        open_source(f"npz:{tmp_path / 'e.npz'}")
    np.save(tmp_path / "f.npz.npy", random(2, 4, 4))
    with pytest.raises(DataError, match="one array"):
        open_source(f"npz:{tmp_path / 'f.npz.npy'}")
    (tmp_path / "g.npz").write_text("no archive")
    with pytest.raises(DataError, match="not an"):
        open_source(f"npz:{tmp_path / 'g.npz'}")
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"npz:{tmp_path / 'none.npz'}")
    with pytest.raises(DataError, match="needs a file"):
        open_source("npz")


def test_digits() -> None:
    source = open_source("digits")
    assert len(source) == 1797
    assert source.shape == (1, 8, 8)
    assert source.batch(range(1797)).max() == 255
    assert open_source("digits", image_size=16).shape == (1, 16, 16)
