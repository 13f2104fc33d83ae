"""Files as they may come: read, or refused in words; nothing else, in Python and on the command
line."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from image_helpers import encode, noise

from tacit.data import open_source
from tacit.errors import TacitError

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
MORE = settings(FEW, max_examples=60)
IMAGES = {k: encode(noise(1, (20, 16)), k) for k in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")}
ENDINGS = ("png", "jpg", "webp", "bmp", "tif", "gif")


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut anywhere, bytes replaced anywhere, or both."""
    content = bytearray(data)
    if draw(st.booleans()):
        content = content[: draw(st.integers(0, len(content)))]
    for _ in range(draw(st.integers(0, 6)) if content else 0):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


def opens(spec: str, **options: Any) -> int | None:
    """Samples of the source, all of them read; None where it is refused in words."""
    try:
        source = open_source(spec, progress=False, **options)
        source.batch(range(min(len(source), 4)))
    except TacitError:
        return None
    return len(source)


def in_file(name: str, content: bytes, use: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return use(path)


@MORE
@given(st.data())
def test_images_are_decoded_or_skipped_and_counted(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "good.png").write_bytes(IMAGES["PNG"])
        count = data.draw(st.integers(1, 3))
        for i in range(count):
            kind = data.draw(st.sampled_from(sorted(IMAGES)))
            content = data.draw(st.one_of(damaged(IMAGES[kind]), st.binary(max_size=80)))
            end = data.draw(st.sampled_from(ENDINGS))  # the content decides, not the ending
            (Path(folder) / f"{i}.{end}").write_bytes(content)
        source = open_source(f"images:{folder}", progress=False)
        assert len(source) + len(source.skipped) == count + 1
        assert all(why for _, why in source.skipped)
        assert len(source.batch(range(len(source)))) == len(source)


def npz(named: dict[str, np.ndarray], compressed: bool = True) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **named)
    return buffer.getvalue()


KINDS = st.one_of(
    scalar_dtypes(),
    st.sampled_from([np.dtype("U3"), np.dtype("S3"), np.dtype("f4,i2")]),
    st.just(np.dtype(">f4")),
    st.just(np.dtype("f2")),
)
ANY = st.one_of(
    arrays(KINDS, array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)),
    arrays(np.float64, (3, 8, 8), elements=st.floats(allow_nan=True, allow_infinity=True)),
    arrays(np.float32, (1, 8, 8), elements=st.floats(0, 1, width=32)).map(np.asfortranarray),
    arrays(np.uint8, (2, 8, 8, 3)),
    st.just(np.zeros((2, 8, 8), "V5")),
)
SPECS = ("npz:{}", "npz:{}#series=images", "graph:{}", "fmri:{}", "npz:{}#series=images,window=2")
NAMES = ("images", "labels", "x", "edge_index", "y", "sizes", "series", "subject", "tr_seconds")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@MORE
@given(st.sampled_from(SPECS), st.dictionaries(st.sampled_from(NAMES), ANY, max_size=4))
@example("graph:{}", {"x": np.eye(3), "edge_index": np.array([["a"], ["b"]])})
@example("graph:{}", {"x": np.eye(2), "edge_index": np.zeros((2, 1), int), "sizes": np.eye(1)})
@example("fmri:{}", {"series": np.zeros((2, 3, 20), complex)})
@example("npz:{}", {"images": np.zeros((1, 8, 8), np.uint8), "labels": np.array(["a"])})
def test_archives_of_any_arrays(spec: str, named: dict[str, np.ndarray]) -> None:
    in_file("a.npz", npz(named, False), lambda path: opens(spec.format(path)))


GOOD = npz({"images": np.asarray(noise(0, (8, 8)))[None], "labels": np.array([1])})


@pytest.mark.filterwarnings("ignore::UserWarning")
@MORE
@given(st.sampled_from(SPECS), damaged(GOOD))
def test_archives_damaged_anywhere(spec: str, content: bytes) -> None:
    in_file("a.npz", content, lambda path: opens(spec.format(path)))


def test_every_compression_of_archives(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.save(header, np.arange(128, dtype=np.uint8).reshape(2, 8, 8))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{method}.npz"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("images.npy", header.getvalue())
        assert opens(f"npz:{path}") == 2
        data = bytearray(path.read_bytes())
        data[60:100] = bytes(40)
        path.write_bytes(data)
        assert opens(f"npz:{path}") is None


CELL = st.one_of(
    st.sampled_from(["", "1", "-2.5", "nan", "inf", "1e999", '"', "1,2", "\x00", "é", "9" * 40]),
    st.text(max_size=5),
)
TABLES = st.lists(st.lists(CELL, max_size=5).map(",".join), max_size=6).map("\n".join)
HEADED = st.tuples(
    st.sampled_from(["a,b,c", "id,time,a", "subject,region,time,value", "label,0,1,2", "x"]),
    TABLES,
).map("\n".join)
TEXTS = st.one_of(TABLES, HEADED, st.binary(max_size=60))
TEXT_SPECS = {
    "a.csv": (
        "csv:{}",
        "csv:{}#layout=recording,window=2",
        "fmri:{}",
        "csv:{}#missing=interpolate",
    ),
    "edges.csv": ("graph:{}@{}",),
    "x_TRAIN.ts": ("ucr:x@{0.parent}",),
    "X_A.txt": ("tu:X@{0.parent}",),
    "a.txt": ("txt:{0.parent}", "txt:{0.parent}#window=3,unequal=pad"),
}


@pytest.mark.filterwarnings("ignore")
@MORE
@given(st.sampled_from(sorted(TEXT_SPECS)), st.data())
def test_tables_and_texts(name: str, data: st.DataObject) -> None:
    text = data.draw(TEXTS)
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    spec = data.draw(st.sampled_from(TEXT_SPECS[name]))

    def use(path: Path) -> None:
        for other in ("X_graph_indicator.txt", "X_graph_labels.txt"):
            (path.parent / other).write_bytes(content)
        opens(spec.format(path, path))

    in_file(name, content, use)


def table() -> bytes:
    rows = [{"bytes": IMAGES["PNG"], "path": "/etc/passwd"}] * 3
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": rows, "label": ["a", "b", None]}), buffer)
    return buffer.getvalue()


@FEW
@given(damaged(table()))
def test_parquet_damaged_anywhere(content: bytes) -> None:
    in_file("a.parquet", content, lambda path: opens(f"parquet:{path}"))


def test_paths_in_a_table_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(IMAGES["PNG"])
    rows = [{"bytes": None, "path": str(tmp_path / "secret.png")}]
    pq.write_table(pa.table({"image": rows}), tmp_path / "t.parquet")
    assert opens(f"parquet:{tmp_path / 't.parquet'}") is None


def test_matlab_files_damaged_anywhere(tmp_path: Path) -> None:
    """Some of these crash scipy's reader, which therefore has a process of its own."""
    cells = np.empty((2, 2), object)
    for at in np.ndindex(2, 2):
        cells[at] = np.random.default_rng(0).normal(size=(4, 12))
    scipy.io.savemat(tmp_path / "m.mat", {"c": cells})
    data = (tmp_path / "m.mat").read_bytes()
    assert opens(f"fmri:{tmp_path / 'm.mat'}") == 4
    rng = np.random.default_rng(5)
    for _ in range(2):
        content = bytearray(data)
        for place in rng.integers(128, len(data), 3):
            content[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.mat").write_bytes(content)
        opens(f"fmri:{tmp_path / 'm.mat'}")


COMMANDS = {
    "npz": ("a.npz", b"PK\x05\x06" + bytes(18)),
    "parquet": ("a.parquet", b"PAR1" + bytes(20) + b"PAR1"),
    "csv": ("a.csv", b"a,b\n1\n"),
    "graph": ("a.npz", npz({"x": np.eye(3), "edge_index": np.array([["a"], ["b"]])})),
    "fmri": ("a.mat", b"MATLAB 5.0" + bytes(300)),
    "edf": ("a.edf", b"0" + bytes(300)),
    "txt": ("a.zip", b"PK\x03\x04" + bytes(40)),
    "images": ("a.png", b"no folder"),
    "ppg-ieee": ("a.mat", b""),
    "cifar10": ("a", b"no folder"),
    "molecules": ("a.csv", b"smiles\x00,\xff\n\x00"),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command_line_says_it_in_one_message(kind: str, tmp_path: Path, command) -> None:
    name, content = COMMANDS[kind]
    (tmp_path / name).write_bytes(content)
    method = {"graph": "graphmae", "fmri": "st-mae"}.get(kind, "simclr")
    done = command("pretrain", method, f"{kind}:{tmp_path / name}", "-o", tmp_path / "run")
    assert done.code == 2, done.text
    assert "error:" in done.text
    assert "Traceback" not in done.text
    assert not (tmp_path / "run").exists()
