"""Folders: nesting, classes, splits, links, names, what is skipped, and clear errors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_helpers import encode, noise, write_images
from PIL import Image

from tacit.data import ImageSource, open_source
from tacit.errors import DataError


def open_folder(folder: Path, **options: object) -> ImageSource:
    options.setdefault("progress", False)
    return open_source(f"images:{folder}", **options)  # type: ignore[arg-type]


def test_flat_folder(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "a", 12)
    source = open_folder(tmp_path / "a")
    assert source.shape == (3, 16, 16)
    assert source.labels is None
    assert source.class_names is None
    assert source.skipped == []
    expected = np.stack([np.asarray(Image.open(p)).transpose(2, 0, 1) for p in paths])
    np.testing.assert_array_equal(source.batch(range(12)).numpy(), expected)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "dog", 2)
    write_images(tmp_path / "cat" / "deep" / "deeper", 3)
    source = open_folder(tmp_path)
    assert source.class_names == ["cat", "dog"]
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == [0, 0, 0, 1, 1]


def test_one_image_outside_a_folder_means_no_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "dog", 2)
    write_images(tmp_path, 1)
    assert open_folder(tmp_path).labels is None


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_split_folders(tmp_path: Path, held_out: str) -> None:
    write_images(tmp_path / "train" / "a", 3)
    write_images(tmp_path / "train" / "b", 4)
    write_images(tmp_path / held_out / "b", 2)
    train, test = (open_folder(tmp_path, split=split) for split in ("train", "test"))
    assert (len(train), len(test), len(open_folder(tmp_path))) == (7, 2, 7)
    assert train.class_names == test.class_names == ["a", "b"]
    assert test.labels is not None
    assert test.labels.tolist() == [1, 1]


def test_test_split_has_the_shape_of_the_train_split(tmp_path: Path) -> None:
    write_images(tmp_path / "train", 2, size=(40, 20))
    write_images(tmp_path / "train", 1, size=(30, 30))
    write_images(tmp_path / "test", 3, mode="L")
    assert open_folder(tmp_path, split="train").shape == (3, 96, 96)
    assert open_folder(tmp_path, split="test").shape == (3, 96, 96)


def test_partition_without_split_folders(tmp_path: Path) -> None:
    write_images(tmp_path, 10)
    train, test = (open_folder(tmp_path, split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 2)
    together = {
        image.numpy().tobytes() for part in (train, test) for image in part.batch(range(len(part)))
    }
    assert len(together) == 10


def test_sizes(tmp_path: Path) -> None:
    write_images(tmp_path / "square", 3, size=(20, 20))
    write_images(tmp_path / "oblong", 3, size=(20, 30))
    write_images(tmp_path / "large", 1, size=(300, 300))
    assert open_folder(tmp_path / "square").shape == (3, 20, 20)
    assert open_folder(tmp_path / "square", image_size=10).shape == (3, 10, 10)
    assert open_folder(tmp_path / "oblong").shape == (3, 96, 96)
    assert open_folder(tmp_path / "large").shape == (3, 96, 96)
    assert open_folder(tmp_path).shape == (3, 96, 96)


def test_grey_folder_has_one_channel(tmp_path: Path) -> None:
    write_images(tmp_path, 3, mode="L")
    assert open_folder(tmp_path).shape[0] == 1
    noise().save(tmp_path / "colour.bmp")
    assert open_folder(tmp_path).shape[0] == 3


def test_a_rare_colour_or_size_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.data.encoded.SAMPLE", 4)
    write_images(tmp_path / "a", 30, mode="L")
    noise(size=(16, 16)).save(tmp_path / "a" / "007.png")
    assert open_folder(tmp_path / "a").shape == (3, 16, 16)
    write_images(tmp_path / "b", 30, mode="L")
    noise(size=(9, 16), mode="L").save(tmp_path / "b" / "007.png")
    assert open_folder(tmp_path / "b").shape == (1, 96, 96)
    assert len(open_folder(tmp_path / "b")) == 30


def test_corrupt_files_are_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path / "dog", 3)
    write_images(tmp_path / "cat", 3)
    (tmp_path / "cat" / "000.png").write_bytes(b"")
    (tmp_path / "cat" / "002.png").write_bytes(encode(noise())[:100])
    (tmp_path / "dog" / "text.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING, "tacit.data"):
        source = open_folder(tmp_path)
    assert [what for what, _ in source.skipped] == ["cat/000.png", "cat/002.png", "dog/text.jpg"]
    assert source.skipped[0][1] == "empty file"
    assert "3 of 7" in caplog.text
    assert "cat/002.png" in caplog.text
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1, 1]
    assert torch.equal(source.batch([0])[0], torch.tensor(np.asarray(noise(1)).transpose(2, 0, 1)))
    assert open_folder(tmp_path).skipped == source.skipped  # from the cache
    with pytest.raises(DataError, match=r"cat/000\.png.*strict"):
        open_folder(tmp_path, strict=True)


def test_wrong_extension_is_decoded_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(noise(), "BMP"))
    np.testing.assert_array_equal(
        open_folder(tmp_path).batch([0])[0].numpy(), np.asarray(noise()).transpose(2, 0, 1)
    )


def test_other_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 2)
    write_images(tmp_path / ".thumbnails", 2)
    (tmp_path / "a" / "._000.png").write_bytes(b"resource fork")
    (tmp_path / "a" / "notes.txt").write_text("x")
    source = open_folder(tmp_path)
    assert len(source) == 2
    assert source.skipped == []


def test_names_in_any_script(tmp_path: Path) -> None:
    for number, name in enumerate(["猫", "Hündin été", "a b%20'\"", "\U0001f600", "İ"]):
        (tmp_path / name).mkdir()
        noise(number).save(tmp_path / name / f"{name}.PNG")
    assert sorted(open_folder(tmp_path).class_names or []) == sorted(os.listdir(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    broken = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(broken, "wb") as file:
        file.write(b"no image")
    source = open_folder(tmp_path)
    assert len(source) == 2
    source.skipped[0][0].encode()  # can be printed
    assert open_folder(tmp_path).skipped == source.skipped


def test_links(tmp_path: Path) -> None:
    outside = write_images(tmp_path / "outside", 2)
    folder = tmp_path / "data"
    write_images(folder / "own", 1)
    (folder / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    (folder / "own" / "link.png").symlink_to(outside[0])
    (folder / "own" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "own" / "loop").symlink_to(folder, target_is_directory=True)
    source = open_folder(folder)
    assert len(source) == 4
    assert source.skipped == [("own/broken.png", "broken link")]
    assert source.class_names == ["linked", "own"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe.png")
    assert open_folder(tmp_path).skipped == [("pipe.png", "not a regular file")]


def test_unreadable_sub_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a", 2)
    write_images(tmp_path / "b", 2)
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b" or Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_folder(tmp_path)
    assert len(source) == 2
    assert source.skipped == [("b", "cannot be listed (Permission denied)")]
    (tmp_path / "locked").mkdir()
    with pytest.raises(DataError, match=r"locked.*permissions"):
        open_folder(tmp_path / "locked")


def test_unreadable_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, 3)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "001.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    source = open_folder(tmp_path)
    assert len(source) == 2
    assert source.skipped[0][0] == "001.png"
    assert "Permission denied" in source.skipped[0][1]


def test_errors_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("x")
    for name, message in [
        ("missing", "does not exist"),
        ("file", "not a folder"),
        ("empty", "no image found"),
        ("bad", "none of the 1 images can be read.*x.png"),
    ]:
        with pytest.raises(DataError, match=f"(?s){name}.*{message}|{message}.*{name}"):
            open_folder(tmp_path / name)
    with pytest.raises(DataError, match="images:DIR"):
        open_source("images")
