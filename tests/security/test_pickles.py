"""Pickles that run code, and pickles that build objects which break compiled code, are refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from scipy import sparse

import tacit
from tacit.data import open_source
from tacit.data.plain_pickle import load_plain
from tacit.errors import DataError, TacitError


class Call:
    """Pickled, this is a call that loading carries out."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def attacks(owned: Path) -> dict[str, bytes]:
    touch = f"touch {owned}"
    code = f"open({str(owned)!r}, 'w')"
    runstring = b"cnumpy.testing._private.utils\nrunstring\n(V" + code.encode() + b"\n(dtR."
    return {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "posix.system": b"cposix\nsystem\n(V" + touch.encode() + b"\ntR.",
        "builtins.eval": pickle.dumps(Call(eval, code)),
        "builtins.exec, protocol 0": b"c__builtin__\nexec\n(V" + code.encode() + b"\ntR.",
        "inside of an array": pickle.dumps(np.array([Call(os.system, touch)], object)),
        "inside of a list": pickle.dumps([{"x": [Call(os.system, touch)]}]),
        "numpy.runstring": runstring,
        "numpy.load": pickle.dumps(Call(np.load, str(owned), None, True)),
        "numpy.memmap": pickle.dumps(Call(np.memmap, str(owned), "u1", "w+", 0, (3,))),
        "numpy.ndarray.tofile": b"cnumpy\nndarray.tofile\n(V" + str(owned).encode() + b"\ntR.",
        "getattr": pickle.dumps(Call(getattr, os.system, "__self__")),
        "torch.load": pickle.dumps(Call(torch.load, str(owned))),
        "subprocess.Popen": b"csubprocess\nPopen\n((lVtouch\naV" + str(owned).encode() + b"\natR.",
        "nested names": b"\x80\x04\x8c\x08builtins\x8c\x0dlist.__class__\x93.",
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent identifier": b"Powned\n.",
        "codec": b"c_codecs\nencode\n(Vx\nVbz2_codec\ntR.",
    }


NAMES = sorted(attacks(Path("x")))


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_refused_and_not_made(
    name: str, encoding: str, owned: Path, tmp_path: Path
) -> None:
    (tmp_path / "evil.pkl").write_bytes(attacks(owned)[name])
    with pytest.raises(DataError, match=r"evil\.pkl"):
        load_plain(tmp_path / "evil.pkl", encoding=encoding)


@pytest.mark.parametrize("name", NAMES)
def test_planetoid_and_cifar_use_it(name: str, owned: Path, tmp_path: Path) -> None:
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph"):
        (tmp_path / f"ind.cora.{part}").write_bytes(attacks(owned)[name])
    (tmp_path / "ind.cora.test.index").write_text("0\n")
    (tmp_path / "data_batch_1").write_bytes(attacks(owned)[name])
    for spec in (f"planetoid:cora@{tmp_path}", f"cifar10:{tmp_path}"):
        with pytest.raises(DataError, match="cannot be used"):
            open_source(spec)


def test_object_types_are_refused(tmp_path: Path) -> None:
    """A type that calls pointers numbers would let the file choose what memory is read."""
    path = tmp_path / "x"
    for kind in ("O", "V8", "S8", "U3", "M8[s]", "f4, O"):
        array = np.zeros(2, kind)
        path.write_bytes(pickle.dumps(array, 2))
        with pytest.raises(DataError, match="refused"):
            load_plain(path, encoding="latin1")
    # numpy.dtype('V8') whose state says that it is a record with an object in it
    state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
    forged = pickle.dumps(Call(np.dtype, "V8"), 2)[:-1] + pickle.dumps(state, 2)[2:-1] + b"b."
    path.write_bytes(forged)
    with pytest.raises(DataError, match="refused"):
        load_plain(path, encoding="latin1")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_honest_arrays_are_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    rng = np.random.default_rng(0)
    for array in (
        rng.integers(0, 255, (3, 4), np.uint8),
        np.asfortranarray(rng.normal(size=(5, 3))),
        rng.normal(size=3).astype(">f4"),
        np.zeros((0, 4), np.int32),
        np.array([True, False]),
    ):
        path.write_bytes(pickle.dumps(array, protocol))
        np.testing.assert_array_equal(load_plain(path, encoding="latin1"), array)
    matrix = sparse.random(6, 5, 0.4, "csr", random_state=0)
    path.write_bytes(pickle.dumps(matrix, protocol))
    assert (load_plain(path, encoding="latin1") != matrix).nnz == 0


def forged_csr(**parts: Any) -> bytes:
    """A pickled matrix whose state was never checked by scipy."""
    matrix = sparse.csr_matrix(np.eye(4, dtype=np.float32))
    matrix.__dict__.update(parts)
    return pickle.dumps(matrix)


@pytest.mark.parametrize(
    "parts",
    [
        {"indptr": np.array([0, 10**8, 2, 3, 4], np.int32)},
        {"indptr": np.array([0, 3, 1, 3, 4], np.int32)},
        {"indptr": np.array([-5, 1, 2, 3, 4], np.int32)},
        {"indptr": np.array([0, 4], np.int32)},
        {"indices": np.array([0, 1, 2, 10**8], np.int32)},
        {"indices": np.array([0, -(10**8), 2, 3], np.int32)},
        {"indices": np.array([0.0, 1.0, 2.0, 3.0])},
        {"data": np.ones(1, np.float32)},
        {"_shape": (10**9, 4)},
        {"_shape": (4, 4, 4)},
        {"_shape": "4"},
    ],
)
def test_sparse_parts_that_scipy_would_trust(parts: dict[str, Any], tmp_path: Path) -> None:
    """The second pointer of the first case makes scipy write 10^8 numbers past its memory."""
    (tmp_path / "x").write_bytes(forged_csr(**parts))
    with pytest.raises(DataError):
        load_plain(tmp_path / "x", encoding="latin1")
    arrays: dict[str, Any] = {
        "x_data": np.ones(4, np.float32),
        "x_indices": np.arange(4, dtype=np.int32),
        "x_indptr": np.arange(5, dtype=np.int32),
        "x_shape": np.array([4, 4]),
        "edge_index": np.array([[0], [1]]),
    }
    arrays |= {f"x_{key.lstrip('_')}": np.array(value) for key, value in parts.items()}
    np.savez(tmp_path / "g.npz", **arrays)
    with pytest.raises(DataError):
        open_source(f"graph:{tmp_path / 'g.npz'}")


def test_a_pickle_cannot_take_all_memory(tmp_path: Path, bounded: None) -> None:
    path = tmp_path / "x"
    far = b"\x80\x02N" + b"r" + struct.pack("<I", 2**32 - 1) + b"."  # a memo of 2^32 entries
    long = b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x."
    for data in (far, long):
        path.write_bytes(data)
        with pytest.raises(DataError):
            load_plain(path, encoding="latin1")


def test_nested_lists_are_no_edges(tmp_path: Path, bounded: None) -> None:
    """Ten lists of ten of the same list ... would be 10^10 numbers as an array."""
    eye = sparse.csr_matrix(np.eye(4, dtype=np.float32))
    for part in ("x", "tx", "allx"):
        (tmp_path / f"ind.cora.{part}").write_bytes(pickle.dumps(eye, 2))
    for part in ("y", "ty", "ally"):
        (tmp_path / f"ind.cora.{part}").write_bytes(pickle.dumps(np.eye(4, dtype=np.int32), 2))
    (tmp_path / "ind.cora.test.index").write_text("4\n5\n6\n7\n")
    deep: list[Any] = [1] * 10
    for _ in range(9):
        deep = [deep] * 10
    (tmp_path / "ind.cora.graph").write_bytes(pickle.dumps({0: deep}, 2))
    with pytest.raises(DataError, match="do not fit together"):
        open_source(f"planetoid:cora@{tmp_path}")
    (tmp_path / "ind.cora.graph").write_bytes(pickle.dumps({0: [1]}, 2))
    (tmp_path / "ind.cora.test.index").write_text("4\n5\n6\n99999999999\n")
    with pytest.raises(DataError, match="names the node"):
        open_source(f"planetoid:cora@{tmp_path}")


OBJECTS = ("npz:{}", "npz:{}#series=series", "graph:{}", "fmri:{}#key=series")


@pytest.mark.parametrize("spec", OBJECTS)
def test_arrays_of_objects_are_refused(spec: str, owned: Path, tmp_path: Path) -> None:
    evil = np.array([Call(os.system, f"touch {owned}")], object)
    np.savez(tmp_path / "e.npz", images=evil, series=evil, x=evil, edge_index=evil)
    with pytest.raises(DataError, match="refused"):
        open_source(spec.format(tmp_path / "e.npz"))


def test_a_pickle_with_another_name_is_no_archive(owned: Path, tmp_path: Path, command) -> None:
    for kind in ("npz", "npy", "parquet", "mat", "csv", "nii", "edf", "txt"):
        (tmp_path / f"a.{kind}").write_bytes(pickle.dumps(Call(os.system, f"touch {owned}")))
    kinds = {"npz": "npz", "parquet": "parquet", "csv": "csv", "edf": "edf", "graph": "npz"}
    specs = [f"{kind}:{tmp_path}/a.{end}" for kind, end in kinds.items()]
    specs += [f"fmri:{tmp_path}/a.{end}" for end in ("npz", "mat", "csv")]
    specs += [f"txt:{tmp_path}", f"fmri:{tmp_path / 'a.nii'}#atlas={tmp_path / 'a.nii'}"]
    for spec in specs:
        with pytest.raises(TacitError):
            open_source(spec, strict=True)
    done = command("criteria", tmp_path / "a.npy")
    assert done.code == 2, done.text
    assert "not a .npy file" in done.text


def test_cells_of_matlab_files_are_numbers_only(tmp_path: Path) -> None:
    cells = np.empty((1, 3), object)
    cells[0, 0], cells[0, 1] = np.random.default_rng(0).normal(size=(4, 20)), "text"
    cells[0, 2] = {"a": 1}
    scipy.io.savemat(tmp_path / "c.mat", {"c": cells})
    assert len(open_source(f"fmri:{tmp_path / 'c.mat'}")) == 1


def zipped_pickle(path: Path, payload: bytes) -> None:
    """A checkpoint as torch writes it, with another pickle inside."""
    import zipfile

    buffer = io.BytesIO()
    torch.save({"state_dict": {}}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            data = payload if member.filename.endswith("data.pkl") else old.read(member)
            new.writestr(member.filename, data)


def test_a_checkpoint_runs_nothing(
    owned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed with a checkpoint whose checksum fits: the attacker wrote both."""
    import json

    from tacit.training.checkpoint import _digest

    run = tacit.pretrain(
        "simclr", "digits", out=tmp_path / "run", steps=1, batch_size=16, image_size=16,
        progress=False,
    )  # fmt: skip
    path = run.folder.checkpoint_path
    monkeypatch.setattr("tacit.report.sample.SAMPLES", 50)
    run.folder.set_status("interrupted")
    for name in ("os.system", "builtins.eval", "numpy.runstring", "torch.load"):
        zipped_pickle(path, attacks(owned)[name])
        (path.parent / "checksums.json").write_text(json.dumps({path.name: [_digest(path)]}))
        with pytest.raises(TacitError, match=r"last\.ckpt.* refused"):
            run.resume(progress=False)
    assert "RankMe" in run.report().read_text()  # takes the projector from the checkpoint
