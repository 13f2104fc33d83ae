"""Dropout masks, several times faster on a CPU than torch's own Bernoulli numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def keep_mask(shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
    """0 and 1 in the type and place of `like`, each 0 with probability `rate`.

    Follows `torch.manual_seed`. On a CPU numpy's SFC64, seeded from torch's generator, draws the
    numbers: an epoch of GraphMAE spends a fifth of its time on torch's.

    >>> keep_mask((2, 3), 0.0, torch.zeros(1)).sum()
    tensor(6.)
    """
    if like.device.type != "cpu":
        return (torch.rand(tuple(shape), device=like.device) >= rate).to(like.dtype)
    rng = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
    uniform = torch.from_numpy(rng.random(tuple(shape), dtype=np.float32))
    return (uniform >= rate).to(like.dtype)


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """`torch.nn.functional.dropout` with `keep_mask`'s numbers."""
    if not training or rate == 0:
        return x
    return x * keep_mask(x.shape, rate, x).mul_(1 / (1 - rate))
