"""Sources: from files, tables, arrays and names to batches of plain tensors."""

from tacit.data.base import Source
from tacit.data.imbalance import imbalanced_indices
from tacit.data.open import open_source
from tacit.data.photos import load_photos
from tacit.data.series import SeriesSource
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, register_spec

__all__ = [
    "ImageSource",
    "OpenOptions",
    "SeriesSource",
    "Source",
    "imbalanced_indices",
    "load_photos",
    "open_source",
    "register_spec",
]
