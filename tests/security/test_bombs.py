"""Small files that claim or unpack to huge ones are refused, in bounded memory and time."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tacit.data import open_source
from tacit.errors import ConfigError, DataError, TacitError
from tacit.recipe import Recipe
from tacit.untrusted import load_yaml, read_text

pytestmark = pytest.mark.usefixtures("bounded", "small")
BLOCK = 2**18
BOMB = "decompression bomb"


def npy_header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(buffer, about)
    return buffer.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs of some MiB, which are made in no time, must be refused as large ones are."""
    monkeypatch.setattr("tacit.untrusted.SMALL", 2**20)


def png(side: int) -> bytes:
    """A PNG of side x side pixels in under a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(100))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_huge_images_are_skipped_and_named(tmp_path: Path) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "good.png")
    for name in ("bomb.png", "bomb.jpg"):
        (tmp_path / name).write_bytes(png(60_000))
    (tmp_path / "less.png").write_bytes(png(10_000))  # which Pillow itself only warns of
    source = open_source(f"images:{tmp_path}", progress=False)
    assert len(source) == 1
    found = {what for what, why in source.skipped if BOMB in why}
    assert found == {"bomb.png", "bomb.jpg", "less.png"}
    with pytest.raises(DataError, match=BOMB):
        open_source(f"images:{tmp_path}", progress=False, strict=True)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_huge_images_in_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [png(60_000)] * 3}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=BOMB):
        open_source(f"parquet:{tmp_path / 't.parquet'}", progress=False)


SPECS = ("npz:{}", "npz:{}#series=images", "graph:{}", "fmri:{}#key=images")


@pytest.mark.parametrize("spec", SPECS)
def test_archives_of_arrays(spec: str, tmp_path: Path, zip_of) -> None:
    shape = (100 * BLOCK // 2**20, 1024, 1024)
    path = zip_of(tmp_path / "b.npz", "images.npy", npy_header(shape), bytes(BLOCK), 100)
    with pytest.raises(DataError, match=BOMB):
        open_source(spec.format(path))


@pytest.mark.parametrize("shape", [(10**6, 10**3, 10**3), (10**12,) * 3, (-5, 4, 4), (2**63, 1, 1)])
@pytest.mark.parametrize("spec", SPECS)
def test_headers_that_claim_more_than_there_is(
    spec: str, shape: tuple[int, ...], tmp_path: Path, zip_of
) -> None:
    path = zip_of(tmp_path / "l.npz", "images.npy", npy_header(shape), b"123", 1)
    with pytest.raises(DataError, match=r"l\.npz"):
        open_source(spec.format(path))


def test_an_honest_archive_of_zeros_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the true limit
    np.savez_compressed(tmp_path / "z.npz", images=np.zeros((60, 1000, 1000), np.uint8))
    assert len(open_source(f"npz:{tmp_path / 'z.npz'}")) == 60


def test_the_user_may_allow_more_and_the_file_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "z.npz", images=np.zeros((4, 1000, 1000), np.uint8))
    spec = f"npz:{tmp_path / 'z.npz'}"
    with pytest.raises(DataError, match="TACIT_UNPACK_MIB"):
        open_source(spec)
    monkeypatch.setenv("TACIT_UNPACK_MIB", "4")
    assert len(open_source(spec)) == 4
    for wrong in ("3", "inf", "-9", "4 MiB"):
        monkeypatch.setenv("TACIT_UNPACK_MIB", wrong)
        with pytest.raises(DataError, match="TACIT_UNPACK_MIB"):
            open_source(spec)


def test_archives_of_text(tmp_path: Path, zip_of) -> None:
    path = zip_of(tmp_path / "t.zip", "a/1.txt", b"", b"1\n" * (BLOCK // 2), 40)
    with pytest.raises(DataError, match=f"{BOMB}.*unpack it"):
        open_source(f"txt:{path}")
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(40):  # each below every limit
            archive.writestr(f"a/{i}.txt", b"1\n" * 2**15)
    with pytest.raises(DataError, match=BOMB):
        open_source(f"txt:{tmp_path / 'many.zip'}")


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_packed_tables(module, tmp_path: Path) -> None:
    path = tmp_path / f"t.csv.{ {gzip: 'gz', bz2: 'bz2', lzma: 'xz'}[module] }"
    level = {"preset": 0} if module is lzma else {"compresslevel": 1}
    with module.open(path, "wb", **level) as file:
        file.write(b"a,b\n")
        for _ in range(20):
            file.write(b"1,2\n" * (BLOCK // 4))
    with pytest.raises(DataError, match=BOMB):
        open_source(f"csv:{path}")


def test_packed_tables_that_are_honest(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        np.savetxt(file, np.random.default_rng(0).normal(size=(20, 30)), delimiter=",")
    assert open_source(f"csv:{tmp_path / 't.csv.gz'}").shape == (1, 30)
    (tmp_path / "t.csv.zst").write_bytes(b"x")
    with pytest.raises(DataError, match="unpack it"):
        open_source(f"csv:{tmp_path / 't.csv.zst'}")


def test_tables_of_runs(tmp_path: Path) -> None:
    """A billion equal rows are one run of a few bytes."""
    rows = 2 * 10**5
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([b"x"]))
    pq.write_table(pa.table({"image": column.cast(pa.binary())}), tmp_path / "r.parquet")
    assert (tmp_path / "r.parquet").stat().st_size < rows
    with pytest.raises(DataError, match=f"{BOMB}: 200,000 rows"):
        open_source(f"parquet:{tmp_path / 'r.parquet'}", progress=False)


def test_brain_images(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 12), np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "ok.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "ok.nii.gz").read_bytes()))
    struct.pack_into("<8h", raw, 40, 3, 1000, 1000, 3000, 1, 1, 1, 1)
    with gzip.open(tmp_path / "atlas.nii.gz", "wb", compresslevel=1) as file:
        file.write(bytes(raw[:352]))
        for _ in range(80):
            file.write(bytes(BLOCK))
    with pytest.raises(DataError, match=r"atlas\.nii\.gz"):
        open_source(f"fmri:{tmp_path / 'ok.nii.gz'}#atlas={tmp_path / 'atlas.nii.gz'}")


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "options:\n" + "".join(f"  {line}\n" for line in LAUGHS.splitlines()),
        LAUGHS + "seed: *j\n",
        "options: &a {x: *a}",
        "seed: &a [*a]",
        "seed: " + "[" * 20_000,
        "seed: " + "[" * 700 + "]" * 700,
        "{a: " * 300,
        "seed: " + "9" * 6000,
        "seed: 2001-99-99",
        "seed: !!binary aGVsbG8=",
        "options: !!set {a, b}",
        "? [1, 2]\n: 3",
    ],
)
def test_yaml_that_explodes(text: str, tmp_path: Path, command) -> None:
    with pytest.raises(ValueError):
        load_yaml(text)
    with pytest.raises(ConfigError, match="not valid YAML"):
        Recipe.from_yaml(text)
    (tmp_path / "r.yaml").write_text(text)
    done = command("pretrain", "--recipe", tmp_path / "r.yaml")
    assert done.code == 2
    assert "r.yaml" in done.text
    done = command("pretrain", "simclr", "digits", "--set", f"seed={text}")
    assert done.code == 2
    assert "Traceback" not in done.text


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        '!!python/object/apply:eval [\'open("{}", "w")\']',
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
    ],
)
def test_yaml_makes_no_objects(tag: str, owned: Path, command, tmp_path: Path) -> None:
    for text in (f"seed: {tag.format(owned)}", f"options: {{a: {tag.format(owned)}}}"):
        with pytest.raises(ConfigError, match="not valid YAML"):
            Recipe.from_yaml(text)
        (tmp_path / "r.yaml").write_text(text)
        assert command("pretrain", "--recipe", tmp_path / "r.yaml").code == 2
    assert command("pretrain", "simclr", "--set", f"seed={tag.format(owned)}").code == 2


@pytest.mark.parametrize("kind", ["npz", "fmri", "graph", "edf", "csv", "parquet"])
def test_pipes_and_devices_are_not_waited_for(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError):
        open_source(f"{kind}:{tmp_path / 'a.npz'}")
    with pytest.raises(DataError):
        open_source(f"{kind}:/dev/zero")


@pytest.mark.parametrize("place", ["pipe", "/dev/zero"])
def test_descriptions_are_files(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TacitError, match="not a regular file"):
        read_text(tmp_path / place)


@pytest.mark.parametrize("kind", ["txt", "edf", "fmri", "images"])
def test_pipes_in_folders_are_not_waited_for(kind: str, tmp_path: Path) -> None:
    for end in ("txt", "edf", "csv", "png"):
        os.mkfifo(tmp_path / f"a.{end}")
    with pytest.raises(DataError):
        open_source(f"{kind}:{tmp_path}", progress=False)
