"""CIFAR-10 in both local forms; unsafe pickles are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_helpers import encode, noise

from tacit.data import open_source
from tacit.errors import DataError


def write_batches(folder: Path, protocol: int = 2) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), dtype=np.uint8)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, name in enumerate(names):
        rows = slice(2 * number, 2 * number + 2)
        content = {b"data": pixels[rows], b"labels": [number, number + 1], b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return pixels.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_python_batches(tmp_path: Path, inner: str, protocol: int) -> None:
    pixels = write_batches(tmp_path / inner, protocol)
    train = open_source(f"cifar10:{tmp_path}")
    test = open_source(f"cifar10:{tmp_path}", split="test")
    np.testing.assert_array_equal(train.batch(range(10)).numpy(), pixels[:10])
    np.testing.assert_array_equal(test.batch(range(2)).numpy(), pixels[10:])
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert train.class_names is not None
    assert train.class_names[3] == "cat"


def test_unsafe_pickle_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "owned"),))

    write_batches(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(DataError, match=r"data_batch_3.*refused"):
        open_source(f"cifar10:{tmp_path}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({}), pickle.dumps([1])])
def test_damaged_batch(tmp_path: Path, content: bytes) -> None:
    write_batches(tmp_path)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        open_source(f"cifar10:{tmp_path}", split="test")


def write_tables(folder: Path) -> None:
    folder.mkdir()
    for side, count in (("train", 6), ("test", 3)):
        images = [{"bytes": encode(noise(n, (32, 32)), "JPEG"), "path": None} for n in range(count)]
        table = pa.table({"img": images, "label": list(range(count))})
        pq.write_table(table, folder / f"{side}.parquet")


def test_tables_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path / "cifar10")
    monkeypatch.setenv("TACIT_DATA", str(tmp_path))
    sizes = [len(open_source("cifar10", split=split)) for split in ("all", "train", "test")]
    assert sizes == [6, 6, 3]
    assert open_source("cifar10").shape == (3, 32, 32)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"cifar10:{tmp_path / 'none'}")
    with pytest.raises(DataError, match=r"neither train\.parquet nor"):
        open_source(f"cifar10:{tmp_path}")


def test_real_data(test_data: Path) -> None:
    source = open_source(f"cifar10:{test_data / 'cifar10'}", split="test", progress=False)
    assert len(source) == 10_000
    assert source.shape == (3, 32, 32)
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [1000] * 10
    assert source.skipped == []
    mean, std = source.statistics()
    np.testing.assert_allclose(mean, [0.494, 0.485, 0.450], atol=0.01)
    np.testing.assert_allclose(std, [0.247, 0.243, 0.262], atol=0.01)
