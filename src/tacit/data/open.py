"""`open_source`: from a short text, an array or a ready source to a `Source`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.data.arrays import open_array
from tacit.data.base import Source, Split
from tacit.data.spec import SPECS, OpenOptions
from tacit.errors import DataError, TacitError, did_you_mean, out_of_memory

SUFFIXES = {
    ".npz": "npz", ".csv": "csv", ".edf": "edf", ".bdf": "edf", ".txt": "txt", ".zip": "txt",
    ".mat": "fmri", ".nii": "fmri", ".gz": "fmri",
}  # fmt: skip


def open_source(
    spec: Any,
    *,
    split: Split = "all",
    image_size: int | None = None,
    strict: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Source:
    """Open data by a short text, or wrap what is in memory.

    ======================  =====================================================================
    ``photos``              patches of real photographs, embedded (32 px grey)
    ``digits``              scikit-learn's digits, embedded (8 px grey)
    ``cifar10[:PATH]``      CIFAR-10 from a folder, or downloaded (extra `hub`)
    ``images:DIR``          a folder of images; sub-folders are classes
    ``parquet:FILE``        a table; ``parquet:FILE#image=COLUMN,label=COLUMN`` where needed
    ``npz:FILE``            arrays `images` and `labels`, or `x_train`, `y_train` ...
    ``hf:ORG/NAME``         a Hugging Face data set (extra `hub`)
    ``ucr:NAME[@DIR]``      time series of the UCR and UEA archives (extra `series`)
    ``csv:``, ``edf:``, ``txt:``  time series in files, cut into windows; also ``npz:FILE#series=X``
    ``planetoid:NAME[@DIR]``  the nodes of a citation graph (download: extra `graph`)
    ``graph:FILE``          the nodes of a graph of your own
    ``tu:``, ``molecules:``  sets of graphs (download: extra `graph`)
    ``fmri:PATH``           brain recordings, regions by time
    array or tensor         images (N, H, W), (N, H, W, C) or (N, C, H, W); or (images, labels)
    ======================  =====================================================================

    Parameters
    ----------
    spec : str, array, tensor, (images, labels) or Source
    split : {"all", "train", "test"}
        Data with a test split of its own: "train" or "test" is that split, and "all" is the train
        split. Other data: a deterministic 80/20 partition, and "all" is everything. A ready
        source is partitioned likewise.
    image_size : int or None
        Side of the square images. None keeps the size where all images share one square size of
        at most 256 pixels, and takes 96 otherwise. Arrays keep their size.
    strict : bool
        An unreadable image is an error instead of being skipped and counted.
    cache_dir : path or None
        Where decoded images are kept: default is the environment variable TACIT_CACHE, else the
        user's cache folder.
    progress : bool
        Show a progress bar while decoding.

    Returns
    -------
    Source

    Raises
    ------
    DataError
        If the spec is unknown or the data cannot be used; the message says what to do.
    MissingExtraError
        If the spec needs a package that is not installed.

    Examples
    --------
    >>> source = open_source("photos", split="train")
    >>> source.shape, len(source.class_names)
    ((1, 32, 32), 20)
    >>> open_source(np.zeros((10, 16, 16), np.uint8)).batch([3]).shape
    torch.Size([1, 1, 16, 16])
    """
    options = OpenOptions(split, image_size, strict, cache_dir, progress)
    if isinstance(spec, str):
        return _open_text(spec, options)
    if isinstance(spec, Source):
        return spec.split(split)
    if isinstance(spec, np.ndarray | torch.Tensor | list | tuple):
        return open_array(spec, options)
    if isinstance(spec, Path):
        written = spec_of_path(spec) or f"images:{spec}"
        raise DataError(f"a path needs to say what it is, as text: '{written}'.")
    raise DataError(
        f"cannot open data of type {type(spec).__name__}; give a spec such as 'images:DIR', "
        "an array, a tensor, or a source."
    )


def _open_text(spec: str, options: OpenOptions) -> Source:
    check_known(spec)
    prefix, colon, argument = spec.partition(":")
    module, function = SPECS[prefix].split(":")
    opened = getattr(importlib.import_module(module), function)
    try:
        source: Source = opened(argument if colon else None, options)
    except Exception as error:
        if (reason := _memory(error)) is not None:
            raise DataError(
                f"Out of memory while opening '{spec}': it is damaged, or too large for the memory "
                "that is free. Give a part of it or a smaller --image-size, or free some memory. "
                f"({reason})"
            ) from error
        if isinstance(error, TacitError | ImportError | AssertionError):
            raise
        raise DataError(  # damaged in a way that its reader does not foresee
            f"'{spec}' cannot be opened: it is damaged, or not what '{prefix}:' reads "
            f"({type(error).__name__}: {error})."
        ) from error
    return source


def _memory(error: Exception) -> str | None:
    """What was said, where memory was too small, also inside a reader's own error."""
    cause: BaseException | None = error
    while cause is not None:
        if out_of_memory(cause):
            return str(error) or type(error).__name__
        cause = cause.__cause__
    return None


def check_known(spec: str, methods: Iterable[str] = ()) -> None:
    """Raise a DataError, with a suggestion, unless the text begins as data does.

    Parameters
    ----------
    spec : the text.
    methods : names of methods, one of which may have been meant.
    """
    prefix = spec.partition(":")[0]
    if prefix in SPECS:
        return
    written = spec_of_path(spec)
    if written is not None:
        raise DataError(f"unknown data '{spec}'. For what has that name, write '{written}'.")
    from tacit.data.planetoid import NAMES

    if prefix.lower() in NAMES:
        raise DataError(f"unknown data '{spec}'. Did you mean 'planetoid:{spec}'?")
    words = [*SPECS, *methods]
    hint = did_you_mean(prefix, words) or did_you_mean(prefix.lower(), words)
    if any(f"'{method}'" in hint for method in methods):
        hint = hint.replace("mean", "mean the method")
    raise DataError(f"unknown data '{spec}'.{hint} Known: {', '.join(sorted(SPECS))}.")


def spec_of_path(path: str | Path) -> str | None:
    """How a file or folder that exists is written as data; None where there is none.

    >>> spec_of_path(Path(__file__).parent).startswith("images:")
    True
    """
    found = Path(path).expanduser()
    try:
        if str(path) and found.is_dir():
            return f"images:{path}"
        if found.is_file():
            return f"{SUFFIXES.get(found.suffix.lower(), 'parquet')}:{path}"
    except OSError:
        pass  # not a possible path
    return None
