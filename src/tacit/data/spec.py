"""What a spec is made of, the options of opening one, and the way from encoded images to a source.

A modality adds its spec with one line in `SPECS` (or `register_spec`): the prefix before the
colon, and ``"module:function"``. The module is imported only when the spec is used; the function
gets the text after the colon (None without one) and the options, and returns a source.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tacit.data.base import Split
from tacit.data.cache import open_pixels
from tacit.data.encoded import Encoded, printable
from tacit.data.source import ArrayPixels, ImageSource
from tacit.errors import ConfigError, DataError

logger = logging.getLogger("tacit.data")

SPLITS = ("all", "train", "test")
LARGEST_SIZE = 4096
NAMED = 5  # skipped things that a message names

SPECS: dict[str, str] = {
    "photos": "tacit.data.photos:open_photos",
    "digits": "tacit.data.arrays:open_digits",
    "cifar10": "tacit.data.cifar:open_cifar10",
    "images": "tacit.data.folder:open_folder",
    "parquet": "tacit.data.parquet:open_parquet",
    "npz": "tacit.data.arrays:open_npz",
    "hf": "tacit.data.hub:open_hub",
    "planetoid": "tacit.data.planetoid:open_planetoid",
    "graph": "tacit.data.graph_file:open_graph",
    "tu": "tacit.data.tu:open_tu",
    "molecules": "tacit.data.molecules:open_molecules",
    "ucr": "tacit.data.ucr:open_ucr",
    "csv": "tacit.data.series_csv:open_csv",
    "edf": "tacit.data.edf:open_edf",
    "txt": "tacit.data.series_text:open_text",
    "ppg-ieee": "tacit.data.ppg:open_ppg_ieee",
    "fmri": "tacit.data.fmri:open_fmri",
}

# What a prefix opens where that is not images; `npz` is told by the file's arrays.
SPEC_MODALITY: dict[str, str] = {
    "ucr": "series",
    "csv": "series",
    "edf": "series",
    "txt": "series",
    "ppg-ieee": "series",
    "planetoid": "graph",
    "graph": "graph",
    "tu": "graph",
    "molecules": "graph",
    "fmri": "fmri",
}


def spec_modality(spec: Any) -> str:
    """The modality of a spec (without opening it), of a source, or of arrays (images).

    >>> spec_modality("photos"), spec_modality("planetoid:cora")
    ('image', 'graph')
    """
    if not isinstance(spec, str):
        return str(getattr(spec, "modality", "image"))
    prefix, _, argument = spec.partition(":")
    if prefix == "npz":
        from tacit.data.arrays import npz_modality

        return npz_modality(argument)
    return SPEC_MODALITY.get(prefix, "image")


def short_name(spec: str) -> str:
    """What a spec is called where there is little room: its last part, without folders.

    >>> short_name("images:./photos/"), short_name("ucr:GunPoint@/data/ucr")
    ('photos', 'GunPoint')
    """
    prefix, colon, argument = spec.partition("#")[0].partition(":")
    if not colon:
        return prefix.rstrip("/").rsplit("/", 1)[-1]
    if SPEC_MODALITY.get(prefix) in ("graph", "series") and "@" in argument:
        argument = argument.partition("@")[0]
    return argument.rstrip("/").rsplit("/", 1)[-1]


def register_spec(prefix: str, target: str) -> None:
    """Make ``open_source("PREFIX:...")`` call the function named by `target`.

    Parameters
    ----------
    prefix : str
    target : str
        ``"module:function"``; the function takes (argument, OpenOptions) and returns a source.
    """
    SPECS[prefix] = target


@dataclass(frozen=True)
class OpenOptions:
    """How to open a source; see `open_source`."""

    split: Split = "all"
    image_size: int | None = None
    strict: bool = False
    cache_dir: str | Path | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, not '{self.split}'.")
        if self.image_size is not None and not 1 <= self.image_size <= LARGEST_SIZE:
            raise ConfigError(f"image_size must be in 1..{LARGEST_SIZE}, not {self.image_size}.")


def from_encoded(
    encoded: Encoded, options: OpenOptions, *, plan_like: Encoded | None = None
) -> ImageSource:
    """Decode (or find in the cache) and report what was skipped. Does not partition."""
    if len(encoded) == 0:
        raise DataError(f"{encoded.name}: there are no images in it.")
    pixels, index = open_pixels(
        encoded,
        image_size=options.image_size,
        plan_like=plan_like,
        cache_dir=options.cache_dir,
        progress=options.progress,
    )
    skipped = [(printable(what), why) for what, why in encoded.skipped]
    skipped += [(what, why) for _, what, why in index.skipped]
    labels = encoded.labels
    if labels is not None:
        labels = labels[index.kept(len(encoded))]
    report_skipped(encoded.name, skipped, len(encoded) + len(encoded.skipped), options.strict)
    return ImageSource(
        encoded.name,
        pixels,
        fingerprint=_fingerprint(index.fingerprint, labels),
        labels=labels,
        class_names=encoded.class_names,
        skipped=skipped,
    )


def report_skipped(name: str, skipped: list[tuple[str, str]], total: int, strict: bool) -> None:
    """Log what was skipped, or raise it when `strict`."""
    if not skipped:
        return
    named = "; ".join(f"'{what}': {why}" for what, why in skipped[:NAMED])
    more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    message = f"{name}: {len(skipped)} of {total} could not be read: {named}{more}."
    if strict:
        raise DataError(f"{message} Repair or remove them, or leave --strict (strict=True) out.")
    logger.warning("%s They are skipped.", message)


def from_pixels(
    name: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    class_names: list[str] | None = None,
    *,
    image_size: int | None = None,
) -> ImageSource:
    """A source of uint8 images (N, C, H, W) in memory, resized if `image_size` differs."""
    if image_size is not None and images.shape[2:] != (image_size, image_size):
        images = _resize(images, image_size)
    shape = cast(tuple[int, int, int], images.shape[1:])
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(images).data)
    return ImageSource(
        name,
        ArrayPixels(images),
        fingerprint=_fingerprint(digest.hexdigest(), labels),
        labels=labels,
        class_names=class_names,
    )


def _fingerprint(pixels: str, labels: np.ndarray | None) -> str:
    digest = hashlib.blake2b(pixels.encode(), digest_size=16)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def _resize(images: np.ndarray, size: int) -> np.ndarray:
    """Centre square to (size, size), bicubic and antialiased, uint8 to uint8."""
    import torch
    from torch.nn.functional import interpolate

    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    result = np.empty((*images.shape[:2], size, size), np.uint8)
    for start in range(0, len(images), 256):
        part = torch.tensor(images[start : start + 256, :, top : top + side, left : left + side])
        resized = interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
        result[start : start + 256] = resized.round().clamp(0, 255).byte().numpy()
    return result
