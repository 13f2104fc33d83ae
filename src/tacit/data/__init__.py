"""Sources: from files, tables, arrays and names to batches of uint8 tensors."""

from tacit.data.open import open_source
from tacit.data.photos import load_photos
from tacit.data.source import ImageSource
from tacit.data.spec import OpenOptions, register_spec

__all__ = ["ImageSource", "OpenOptions", "load_photos", "open_source", "register_spec"]
