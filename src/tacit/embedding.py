"""Samples to embeddings with a frozen encoder, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from tacit.data import Source
from tacit.errors import TacitError, out_of_memory
from tacit.repeatable import repeatable


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_weights(module: nn.Module) -> None:
    """2-D convolutions channels-last, which takes half the time; the values are the same."""
    for weight in module.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def embed_chunks(
    encoder: nn.Module,
    view: nn.Module,
    source: Source,
    *,
    positions: np.ndarray | None = None,
    batch_size: int = 256,
) -> Iterator[np.ndarray]:
    """Embeddings (n, dim) float32 of consecutive chunks of a source, in order.

    Parameters
    ----------
    encoder : network in evaluation mode.
    view : raw samples -> network input.
    source : the samples.
    positions : which samples, in which order; all by default.
    batch_size : samples a forward pass, where the source has no `chunk` of its own.

    Raises
    ------
    TacitError : out of memory; it says what to lower.
    """
    where = device()
    encoder = encoder.to(where).eval()
    fast_weights(encoder)
    if positions is None:
        positions = np.arange(len(source))
    size = source.chunk or batch_size
    for start in range(0, len(positions), size):
        try:
            samples = source.batch(positions[start : start + size]).to(where)
            with repeatable():
                rows = encoder(view(samples)).float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            advice = "" if source.chunk else " Lower --batch-size (batch_size=)."
            raise TacitError(f"Out of memory with {size} samples at once.{advice}") from error
        yield rows


def embed_all(encoder: nn.Module, view: nn.Module, source: Source, **options: Any) -> np.ndarray:
    """All embeddings (n, dim) of a source in memory."""
    return np.concatenate(list(embed_chunks(encoder, view, source, **options)))
