"""One file a kind of data: how it becomes views, and how its networks are built."""

from __future__ import annotations

import importlib
from functools import cache

from tacit.errors import ConfigError, did_you_mean
from tacit.modalities.base import Modality

_HOME = {
    "image": "tacit.modalities.image:Image",
    "series": "tacit.modalities.series:Series",
    "graph": "tacit.modalities.graph:Graph",
    "fmri": "tacit.modalities.fmri:FMRI",
}

__all__ = ["Modality", "modality", "modality_names"]


def modality_names() -> list[str]:
    """The kinds of data that tacit knows.

    >>> modality_names()[0]
    'image'
    """
    return list(_HOME)


@cache
def modality(name: str) -> Modality:
    """The modality called `name`; its module is imported only now.

    >>> modality("image").default_method
    'dcl'
    """
    if name not in _HOME:
        raise ConfigError(
            f"There is no modality '{name}'.{did_you_mean(name, _HOME)} Known: {', '.join(_HOME)}."
        )
    module, _, attribute = _HOME[name].partition(":")
    built: Modality = getattr(importlib.import_module(module), attribute)()
    return built
