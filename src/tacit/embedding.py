"""Samples to embeddings with a frozen encoder, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_layout(x: torch.Tensor) -> torch.Tensor:
    """Images channels-last: convolutions take half the time; the values are the same."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@torch.no_grad()
def embed_chunks(
    encoder: nn.Module,
    view: nn.Module,
    source: Any,
    *,
    positions: np.ndarray | None = None,
    batch_size: int = 256,
) -> Iterator[np.ndarray]:
    """Embeddings (n, dim) float32 of consecutive chunks of a source, in order.

    Parameters
    ----------
    encoder : network in evaluation mode.
    view : raw samples -> network input.
    source : has `__len__` and `batch(indices)`.
    positions : which samples, in which order; all by default.
    batch_size : samples a forward pass.
    """
    where = device()
    encoder = encoder.to(where).eval()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if positions is None:
        positions = np.arange(len(source))
    for start in range(0, len(positions), batch_size):
        samples = source.batch(positions[start : start + batch_size]).to(where)
        yield encoder(fast_layout(view(samples))).float().cpu().numpy()


def embed_all(encoder: nn.Module, view: nn.Module, source: Any, **options: Any) -> np.ndarray:
    """All embeddings (n, dim) of a source in memory."""
    return np.concatenate(list(embed_chunks(encoder, view, source, **options)))
