"""Specs: unknown ones, hints, options, new modalities, the hub."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_helpers import encode, noise, write_images

from tacit.data import OpenOptions, open_source, register_spec
from tacit.data.hub import HubReader
from tacit.data.spec import SPECS
from tacit.errors import ConfigError, DataError, MissingExtraError


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("photo", "Did you mean 'photos'"),
        ("imagse:./x", "Did you mean 'images'"),
        ("CIFAR10", "Did you mean 'cifar10'"),
        ("", "Known: cifar10, "),
        ("qqqq\0", "Known: "),
    ],
)
def test_unknown_spec(spec: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        open_source(spec)


def test_a_bare_path_gets_its_spec(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"images:{tmp_path}"):
        open_source(str(tmp_path))
    with pytest.raises(DataError, match=f"images:{tmp_path}"):
        open_source(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(DataError, match="npz:"):
        open_source(str(tmp_path / "a.npz"))


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="all, train, test"):
        open_source("digits", split="valid")  # type: ignore[arg-type]
    for size in (0, -3, 100_000):
        with pytest.raises(ConfigError, match="image_size"):
            open_source("digits", image_size=size)
    with pytest.raises(DataError, match="type dict"):
        open_source({})


def test_new_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "echo", "")
    register_spec("echo", f"{__name__}:echo")
    assert open_source("echo:a:b", split="test") == ("a:b", "test")
    assert open_source("echo") == (None, "all")


def echo(argument: str | None, options: OpenOptions) -> tuple[str | None, str]:
    return argument, options.split


def test_progress_bar_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path, 3)
    open_source(f"images:{tmp_path}")
    assert capfd.readouterr().out == ""


def test_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for spec in ("hf:org/name", "cifar10"):
        with pytest.raises(MissingExtraError, match=r"tacit\[hub\]"):
            open_source(spec)
    with pytest.raises(DataError, match="ORG/NAME"):
        open_source("hf")


def write_hub_folder(folder: Path, sides: dict[str, int]) -> None:
    datasets = pytest.importorskip("datasets")
    (folder / "data").mkdir(parents=True)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])}
    )
    for side, count in sides.items():
        rows = [{"bytes": encode(noise(number)), "path": None} for number in range(count)]
        table = pa.table(
            {"image": rows, "label": [number % 2 for number in range(count)]},
            schema=features.arrow_schema,
        )
        pq.write_table(table, folder / "data" / f"{side}-00000-of-00001.parquet")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_hub_with_and_without_a_test_split(offline: Path) -> None:
    write_hub_folder(offline / "org" / "two", {"train": 6, "test": 3})
    write_hub_folder(offline / "org" / "one", {"train": 10})
    for name, sizes in (("two", [6, 6, 3]), ("one", [10, 8, 2])):
        sources = [
            open_source(f"hf:org/{name}", split=split, progress=False)
            for split in ("all", "train", "test")
        ]
        assert [len(source) for source in sources] == sizes
        assert sources[0].class_names == ["x", "y"]
        assert sources[0].labels is not None
        assert sources[0].labels.tolist() == [n % 2 for n in range(sizes[0])]
        np.testing.assert_array_equal(
            sources[0].batch([4])[0].numpy(), np.asarray(noise(4)).transpose(2, 0, 1)
        )


def test_hub_unknown_name(offline: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        open_source("hf:org/none")


def test_hub_never_opens_paths_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    noise().save(tmp_path / "secret.png")
    noise().save(tmp_path / "hf" / "own.png")
    (tmp_path / "hf" / "link.png").symlink_to(tmp_path / "secret.png")
    rows = [
        {"bytes": None, "path": str(tmp_path / "secret.png")},
        {"bytes": None, "path": str(tmp_path / "hf" / ".." / "secret.png")},
        {"bytes": None, "path": str(tmp_path / "hf" / "link.png")},
        {"bytes": None, "path": str(tmp_path / "hf" / "own.png")},
        {"bytes": None, "path": None},
        None,
    ]

    class Rows:
        def __getitem__(self, items: list[int]) -> dict:
            return {"image": [rows[item] for item in items]}

    found = HubReader(Rows(), "image", [tmp_path / "hf"])(range(6))
    assert [isinstance(value, bytes) for value in found] == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]


def test_too_little_memory_in_a_reader_that_expects_damage(tmp_path: Path, monkeypatch) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8))

    def full(*_, **__):
        raise MemoryError("Unable to allocate 80 GiB")

    monkeypatch.setattr(np.lib.format, "read_array", full)
    with pytest.raises(DataError, match=r"^Out of memory while opening 'npz:.*x\.npz.*80 GiB"):
        open_source(f"npz:{tmp_path / 'x.npz'}")


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_too_little_memory_is_not_called_damage(where, monkeypatch) -> None:
    def full(*_):
        np.empty(2**50) if where == "numpy" else torch.empty(2**50)

    monkeypatch.setattr("tacit.data.photos.open_photos", full)
    with pytest.raises(DataError, match=r"Out of memory while opening 'photos'.*--image-size"):
        open_source("photos")
