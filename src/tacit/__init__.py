"""tacit: self-supervised representation learning on any kind of data, that you can check.

>>> import tacit
>>> run = tacit.pretrain("simclr", "photos")  # doctest: +SKIP
>>> vectors = run.embed("images:./photos")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tacit.api import load, pretrain
    from tacit.recipe import Recipe
    from tacit.run import Run
    from tacit.sweeps import sweep

__version__ = "0.1.0"
__all__ = ["Recipe", "Run", "__version__", "load", "pretrain", "sweep"]

_HOME = {
    "pretrain": "tacit.api",
    "load": "tacit.api",
    "sweep": "tacit.sweeps",
    "Recipe": "tacit.recipe",
    "Run": "tacit.run",
}


def __getattr__(name: str) -> Any:
    # Lazy: `import tacit` does not import torch.
    if name not in _HOME:
        raise AttributeError(f"module 'tacit' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
