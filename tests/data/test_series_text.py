"""Folders and archives of text files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tacit.data import open_source
from tacit.data.series_text import _natural
from tacit.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 3 series of 2 channels, with separators of all kinds."""
    for c, name in enumerate(("rest", "walk")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in (1, 2, 10):
            lines = [f"{c + t},{i * t}" if c else f" {c + t}\t{i * t} \r" for t in range(5)]
            (tmp_path / "set" / name / f"s{i}.TXT").write_text("\n".join(lines) + "\n\n")
    return tmp_path / "set"


def test_folder_and_archive_are_the_same(folder: Path, tmp_path: Path) -> None:
    source = open_source(f"txt:{folder}#rate=10")
    assert (source.modality, source.shape, source.rate) == ("series", (2, 5), 10.0)
    assert source.class_names == ["rest", "walk"]
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    x = source.batch(np.arange(6)).numpy()
    assert x[:, 1, 1].tolist() == [1, 2, 10, 1, 2, 10]  # s2 before s10
    assert x[4, 0].tolist() == [1, 2, 3, 4, 5]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in folder.rglob("*.TXT"):
            archive.write(path, path.relative_to(folder).as_posix())
    again = open_source(f"txt:{tmp_path / 'set.zip'}#rate=10")
    assert again.fingerprint == source.fingerprint
    assert sorted(["o10", "o2", "O1"], key=_natural) == ["O1", "o2", "o10"]


def test_without_sub_folders_there_are_no_labels(folder: Path) -> None:
    source = open_source(f"txt:{folder / 'rest'}")
    assert source.labels is None
    assert len(open_source(f"txt:{folder / 'rest'}#window=2")) == 6


def test_what_is_no_series_is_skipped_or_an_error(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "rest" / "notes.txt").write_text("read me\n1 2\n")
    (folder / "rest" / "empty.dat").write_text("\n")
    source = open_source(f"txt:{folder}")
    assert len(source) == 6
    assert {what for what, _ in source.skipped} == {"rest/notes.txt", "rest/empty.dat"}
    assert "2 of 8 could not be read" in caplog.text
    with pytest.raises(DataError, match=r"2 of 8 files.*empty\.dat"):
        open_source(f"txt:{folder}", strict=True)
    (tmp_path / "only").mkdir()
    with pytest.raises(DataError, match="no text files"):
        open_source(f"txt:{tmp_path / 'only'}")
    (tmp_path / "only" / "a.txt").write_text("hello")
    with pytest.raises(DataError, match="not series of numbers"):
        open_source(f"txt:{tmp_path / 'only'}")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        open_source(f"txt:{tmp_path / 'only' / 'a.txt'}")
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"txt:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="needs a folder"):
        open_source("txt:")
    with pytest.raises(DataError, match="Did you mean 'resample'"):
        open_source(f"txt:{folder}#resampel=3")
