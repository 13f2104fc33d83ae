"""`images:DIR`: a folder of images, nested as deep as one likes.

- Files with an image extension count, in the order of their relative paths; hidden files and
  folders (a leading dot) do not. The content decides the format, not the extension.
- Top-level folders ``train`` and ``test`` (or ``val``) become the splits; "all" is then the train
  split. Without them the splits are a deterministic partition.
- If every image of all splits lies in a sub-folder, the top-level sub-folder's name is its class.
- Links are followed, except to a folder that contains them; a broken link counts as skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tacit.data.decode import EXTENSIONS
from tacit.data.encoded import Encoded, FileReader, content_key
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, from_encoded
from tacit.errors import DataError

TRAIN, TEST = "train", ("test", "val")


class _Listing:
    """Image files below a folder: parts relative to it, size, mtime; and what was skipped."""

    def __init__(self, root: Path) -> None:
        self.files: list[tuple[tuple[str, ...], int, int]] = []
        self.skipped: list[tuple[str, str]] = []
        self._walk(root, (), (os.path.realpath(root),))
        self.files.sort()

    def _walk(self, folder: Path, parts: tuple[str, ...], ancestors: tuple[str, ...]) -> None:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if not parts:
                raise DataError(
                    f"cannot read the folder {folder} ({error.strerror}). Check its permissions."
                ) from error
            self.skipped.append(("/".join(parts), f"cannot be listed ({error.strerror})"))
            return
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            inner = (*parts, entry.name)
            try:
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in ancestors:  # else a link back up: endless
                        self._walk(Path(entry.path), inner, (*ancestors, real))
                elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                    self._add(entry, inner)
            except OSError as error:
                self.skipped.append(("/".join(inner), f"cannot be read ({error.strerror})"))

    def _add(self, entry: os.DirEntry[str], parts: tuple[str, ...]) -> None:
        if entry.is_file():
            status = entry.stat()
            self.files.append((parts, status.st_size, status.st_mtime_ns))
        elif entry.is_symlink():
            self.skipped.append(("/".join(parts), "broken link"))
        else:  # a pipe or a device: reading it could wait for ever
            self.skipped.append(("/".join(parts), "not a regular file"))


def open_folder(argument: str | None, options: OpenOptions) -> ImageSource:
    """Open ``images:DIR``.

    Raises
    ------
    DataError
        If the folder is missing, is no folder, cannot be read, or has no readable image.
    """
    if not argument:
        raise DataError("images needs a folder: images:DIR, for instance images:./photos.")
    root = Path(argument).expanduser()
    if not root.exists():
        raise DataError(f"the folder {root} does not exist. Check the path in 'images:{argument}'.")
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the folder that has the images in it.")
    listing = _Listing(root)
    if not listing.files:
        broken = f" {len(listing.skipped)} could not be read." if listing.skipped else ""
        raise DataError(
            f"no image found in {root}.{broken} "
            f"Image files end in one of: {' '.join(sorted(EXTENSIONS))}."
        )
    name = f"images:{root.resolve().name}"
    top = {parts[0] for parts, _, _ in listing.files if len(parts) > 1}
    held_out = next((folder for folder in TEST if folder in top), None)
    if TRAIN not in top or held_out is None:
        everything = _encoded(name, root, (), listing, _classes(listing, 0))
        return from_encoded(everything, options).split(options.split)
    classes = _classes(listing, 1)
    train = _encoded(name, root, (TRAIN,), listing, classes)
    if options.split != "test":
        return from_encoded(train, options)
    test = _encoded(name, root, (held_out,), listing, classes)
    return from_encoded(test, options, plan_like=train)


def _classes(listing: _Listing, depth: int) -> list[str] | None:
    """Names of the folders at `depth`, or None if an image lies in none."""
    relevant = list(_of_splits(listing) if depth else (parts for parts, _, _ in listing.files))
    if any(len(parts) < depth + 2 for parts in relevant):
        return None
    return sorted({parts[depth] for parts in relevant})


def _of_splits(listing: _Listing) -> Iterator[tuple[str, ...]]:
    return (parts for parts, _, _ in listing.files if parts[0] in (TRAIN, *TEST))


def _encoded(
    name: str, root: Path, below: tuple[str, ...], listing: _Listing, classes: list[str] | None
) -> Encoded:
    files = [file for file in listing.files if file[0][: len(below)] == below]
    items = ["/".join(parts) for parts, _, _ in files]
    prefix = "".join(f"{part}/" for part in below)
    labels = None
    if classes is not None:
        number = {label: index for index, label in enumerate(classes)}
        labels = np.array([number[parts[len(below)]] for parts, _, _ in files], np.int64)
    key = [root.resolve(), *(f"{i}\0{size}\0{mtime}" for i, (_, size, mtime) in zip(items, files))]
    return Encoded(
        name=name,
        key=content_key(key),
        items=items,
        read=FileReader([root.joinpath(*parts) for parts, _, _ in files]),
        labels=labels,
        class_names=classes,
        skipped=[(what, why) for what, why in listing.skipped if what.startswith(prefix)],
    )
