"""The same numbers in every run, on GPUs too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def repeatable(strict: bool = False) -> Iterator[None]:
    """On GPUs, use kernels that give the same numbers in every run, as those of CPUs do.

    What was set before is set again at the end. Without a GPU nothing happens.

    Parameters
    ----------
    strict : an operation that has no such kernel is an error; else torch warns of it and goes on,
        and attention is not repeatable either.

    >>> with repeatable():
    ...     torch.ones(2).sum().item()
    2.0
    """
    if not torch.cuda.is_available():
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its start
    was = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    memory.fill_uninitialized_memory = False  # costs time, hides nothing here
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=only_warned)
        memory.fill_uninitialized_memory = filled
