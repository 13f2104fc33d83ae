"""`open_source`: from a short text, an array or a ready source to a `Source`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tacit.data.arrays import open_array
from tacit.data.base import Source, Split
from tacit.data.spec import SPECS, OpenOptions
from tacit.errors import DataError, TacitError, did_you_mean


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
        raise DataError(f"a path needs to say what it is: 'images:{spec}' for a folder of images.")
    raise DataError(
        f"cannot open data of type {type(spec).__name__}; give a spec such as 'images:DIR', "
        "an array, a tensor, or a source."
    )


def _open_text(spec: str, options: OpenOptions) -> Source:
    prefix, colon, argument = spec.partition(":")
    target = SPECS.get(prefix)
    if target is None:
        raise DataError(f"unknown data '{spec}'.{_hint(spec, prefix)}")
    module, function = target.split(":")
    opened = getattr(importlib.import_module(module), function)
    try:
        source: Source = opened(argument if colon else None, options)
    except (TacitError, ImportError, AssertionError):
        raise
    except Exception as error:  # damaged in a way that its reader does not foresee
        raise DataError(
            f"'{spec}' cannot be opened: it is damaged, or not what '{prefix}:' reads "
            f"({type(error).__name__}: {error})."
        ) from error
    return source


def _hint(spec: str, prefix: str) -> str:
    path = Path(spec).expanduser()
    try:
        if spec and path.is_dir():
            return f" For the folder of images of that name, write 'images:{spec}'."
        if path.is_file():
            kind = "npz" if path.suffix == ".npz" else "parquet"
            return f" For the file of that name, write '{kind}:{spec}'."
    except OSError:
        pass  # not a possible path
    known = f" Known: {', '.join(sorted(SPECS))}."
    return (did_you_mean(prefix, SPECS) or did_you_mean(prefix.lower(), SPECS)) + known
