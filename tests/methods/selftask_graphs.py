"""Small graphs for the tests of the pretext tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CLASSES = 3


def path(n: int, features: int = 4) -> tuple[Tensor, Tensor]:
    """0 - 1 - ... - n-1, every edge in one direction only."""
    return torch.ones(n, features), torch.stack([torch.arange(n - 1), torch.arange(1, n)])


def star(leaves: int) -> tuple[Tensor, Tensor]:
    """Centre 0."""
    ends = torch.arange(1, leaves + 1)
    return torch.eye(leaves + 1), torch.stack([torch.zeros_like(ends), ends])


def blocks(n: int = 60, seed: int = 0) -> tuple[tuple[Tensor, Tensor], Tensor, np.ndarray]:
    """Three communities with their own words: (x, edge_index), y, five training nodes a class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    same = y[:, None] == y
    linked = np.triu(rng.random((n, n)) < np.where(same, 0.15, 0.02), 1)
    edges = np.stack(np.nonzero(linked | linked.T))
    x = (rng.random((n, 24)) < 0.08 + 0.3 * (np.arange(24) % CLASSES == y[:, None])).astype(float)
    train = np.sort(rng.permutation(n)[: 5 * CLASSES])
    return (torch.from_numpy(x), torch.from_numpy(edges)), torch.from_numpy(y), train
