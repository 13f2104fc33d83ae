"""Tables: finding the columns, labels, damage, refused paths."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_helpers import encode, noise

from tacit.data import ImageSource, open_source
from tacit.errors import DataError

PNGS = [encode(noise(number)) for number in range(10)]
EXPECTED = np.stack([np.asarray(noise(number)).transpose(2, 0, 1) for number in range(10)])


def write(path: Path, metadata: dict | None = None, **columns: object) -> str:
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=3)
    return f"parquet:{path}"


def open_table(spec: str, **options: object) -> ImageSource:
    return open_source(spec, progress=False, **options)  # type: ignore[arg-type]


def test_struct_with_bytes(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["zero", "one"]}}}}
    spec = write(
        tmp_path / "t.parquet",
        {"huggingface": json.dumps(features)},
        label=[0, 1] * 5,
        img=[{"bytes": png, "path": None} for png in PNGS],
    )
    source = open_table(spec)
    np.testing.assert_array_equal(source.batch(range(10)).numpy(), EXPECTED)
    assert source.class_names == ["zero", "one"]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1] * 5
    assert len(open_table(spec, split="test")) == 2
    assert torch.equal(pickle.loads(pickle.dumps(source)).batch([9]), source.batch([9]))


def test_streaming_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path / "t.parquet", x=PNGS)
    monkeypatch.setattr("tacit.data.parquet.GROUPS_IN_MEMORY", 1)
    monkeypatch.setattr("tacit.data.cache.RESERVE", 2**62)
    source = open_table(spec)
    np.testing.assert_array_equal(source.batch([9, 0, 5]).numpy(), EXPECTED[[9, 0, 5]])
    assert torch.equal(pickle.loads(pickle.dumps(source)).batch([9]), source.batch([9]))


def test_text_labels_and_missing_ones(tmp_path: Path) -> None:
    spec = write(tmp_path / "t.parquet", image=PNGS[:4], target=["b", None, "a", "b"])
    source = open_table(spec)
    assert source.class_names == ["a", "b"]
    assert source.labels is not None
    assert source.labels.tolist() == [1, -1, 0, 1]


def test_columns_by_name(tmp_path: Path) -> None:
    spec = write(tmp_path / "t.parquet", left=PNGS[:5], right=PNGS[5:], kind=[3, 1, 2, 0, 1])
    with pytest.raises(DataError, match=r"several columns.*left, right"):
        open_table(spec)
    source = open_table(f"{spec}#image=right,label=kind")
    np.testing.assert_array_equal(source.batch(range(5)).numpy(), EXPECTED[5:])
    assert source.labels is not None
    assert source.labels.tolist() == [3, 1, 2, 0, 1]
    with pytest.raises(DataError, match="Did you mean 'right'"):
        open_table(f"{spec}#image=rigth")
    with pytest.raises(DataError, match="#image=COLUMN"):
        open_table(f"{spec}#picture=right")


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", [pa.uint8(), pa.int64(), pa.float32()])
def test_lists_of_pixels(tmp_path: Path, nested: bool, kind: pa.DataType) -> None:
    pixels = EXPECTED[:4].astype(np.float64) / (255 if pa.types.is_floating(kind) else 1)
    depth = 3 if nested else 1
    column_type = kind
    for _ in range(depth):
        column_type = pa.list_(column_type)
    values = pixels.tolist() if nested else pixels.reshape(4, -1).tolist()
    if not pa.types.is_floating(kind):
        values = (pixels if nested else pixels.reshape(4, -1)).astype(int).tolist()
    source = open_table(write(tmp_path / "t.parquet", image=pa.array(values, column_type)))
    np.testing.assert_array_equal(source.batch(range(4)).numpy(), EXPECTED[:4])


def test_bad_rows_are_skipped(tmp_path: Path) -> None:
    target = tmp_path / "secret.png"
    noise().save(target)
    rows = [{"bytes": png, "path": None} for png in PNGS[:4]]
    rows[1] = {"bytes": None, "path": str(target)}  # a path from a table is never opened
    rows[2] = {"bytes": b"broken", "path": None}
    source = open_table(write(tmp_path / "t.parquet", image=rows, label=[5, 6, 7, 8]))
    assert [what for what, _ in source.skipped] == ["row 1", "row 2"]
    assert source.labels is not None
    assert source.labels.tolist() == [5, 8]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2], "b": ["x", "y"]}, "no column of images"),
        ({"image": [[1, 2], [1, 2, 3]]}, "differing sizes"),
        ({"image": [[[1, 2], [1, 2]], None]}, "without an image"),
        ({"image": [["a"], ["b"]]}, "not of pixel values"),
        ({"image": PNGS[:2], "label": [0.5, 1.5]}, "integers or texts"),
        ({"image": pa.array([], pa.binary())}, "has no rows"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_table(write(tmp_path / "t.parquet", **columns))


def test_bad_files(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"text"):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"t\.parquet cannot be read"):
            open_table(f"parquet:{tmp_path / 't.parquet'}")
    with pytest.raises(DataError, match="does not exist"):
        open_table(f"parquet:{tmp_path / 'no.parquet'}")
    with pytest.raises(DataError, match="needs a file"):
        open_source("parquet:")


def test_damage_inside_a_row_group(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", image=PNGS)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    start = content.index(PNGS[4][:20]) - 40 if PNGS[4][:20] in content else len(content) // 2
    content[start : start + 40] = bytes(40)
    (tmp_path / "t.parquet").write_bytes(content)
    try:
        source = open_table(f"parquet:{tmp_path / 't.parquet'}")
    except DataError:
        return
    assert len(source) + len(source.skipped) == 10
    assert source.skipped
