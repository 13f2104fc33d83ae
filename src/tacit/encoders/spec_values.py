"""What the description of a saved encoder may say: it may come from anyone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tacit.errors import TacitError

LARGEST = 2**20  # of a width, a number of channels, a side or a length
_SIZES = ("in_channels", "image_size", "length", "n_rois", "in_dim", "dim")
_TEXTS = ("name", "modality", "method", "tacit_version")


def check_values(spec: Mapping[str, Any], where: object) -> None:
    """Raise TacitError, with `where` it stands, on a value that no `save_encoder` writes.

    >>> check_values({"name": "small", "in_channels": 3, "std": [0.2] * 3}, "encoder.json")
    >>> check_values({"name": "small", "in_channels": -3}, "encoder.json")
    Traceback (most recent call last):
    tacit.errors.TacitError: 'encoder.json' is damaged (in_channels is -3); save the encoder again
    """
    for name, value in spec.items():
        if not _is_possible(name, value):
            text = repr(value)
            shown = text if len(text) < 80 else f"{text[:80]}..."
            raise TacitError(f"'{where}' is damaged ({name} is {shown}); save the encoder again")


def _is_possible(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _SIZES:
        return isinstance(value, int) and 1 <= value <= LARGEST
    if name == "options":
        return isinstance(value, dict)
    if name in ("rate", "tr"):
        return value is None or (_is_number(value) and value > 0)
    if name in ("mean", "std"):
        numbers = isinstance(value, list) and all(map(_is_number, value)) and len(value) > 0
        return numbers and (name == "mean" or min(value) > 0)
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
