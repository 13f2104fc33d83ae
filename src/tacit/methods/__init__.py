"""The methods, one file each. A class is imported when it is asked for: `methods.SimCLR`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from tacit.errors import ConfigError, did_you_mean
from tacit.registry import METHODS


def __getattr__(name: str) -> Any:
    """The method class called `name`, wherever its file is, or what a family exports."""
    if not name[:1].isupper():  # submodules and special names are never classes
        raise AttributeError(f"module 'tacit.methods' has no attribute {name!r}")
    for family in pkgutil.iter_modules(__path__):
        if family.ispkg:
            room = importlib.import_module(f"{__name__}.{family.name}")
            if name in getattr(room, "__all__", ()):
                return getattr(room, name)
    # Most files are called like their class: look there first.
    keys = sorted(METHODS.names(), key=lambda key: key.replace("-", "") != name.lower())
    seen = []
    for key in keys:
        try:
            cls = METHODS.get(key)
        except ConfigError:  # a plug-in, or a method of an extra that is not installed
            continue
        if cls.__name__ == name:
            return cls
        seen.append(cls.__name__)
    raise AttributeError(f"there is no method class {name!r}.{did_you_mean(name, seen)}")
