"""Standardised features in blocks, cached where they fit in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .inputs import BLOCK_BYTES, check_finite, iter_blocks, select_rows, to_tensor

#: standardised features are kept in memory up to this size, and made block by block beyond
CACHE_BYTES = 2**30


class StandardFeatures:
    """Rows standardised by the training mean and deviation, served in blocks."""

    def __init__(self, x: Tensor | np.ndarray, standardize: bool) -> None:
        check_finite(x, "train_x")
        self.device = x.device if isinstance(x, Tensor) else torch.device("cpu")
        double = x.dtype in (torch.float64, np.float64)
        self.dtype = torch.float64 if double else torch.float32
        self.x = x
        self.n, self.d = int(x.shape[0]), int(x.shape[1])
        self.mean = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        self.scale = torch.ones_like(self.mean)
        if standardize:
            shift = to_tensor(x[:1], torch.float64)[0]
            total, square = torch.zeros_like(shift), torch.zeros_like(shift)
            for _, block in iter_blocks(x, torch.float64):
                total += (block - shift).sum(0)
                square += (block - shift).square().sum(0)
            deviation = (square / self.n - (total / self.n).square()).clamp_min(0).sqrt()
            self.mean = shift + total / self.n
            self.scale = torch.where(deviation > 0, deviation, 1.0)
        self._cache: Tensor | None = None
        if self.n * self.d * self.dtype.itemsize <= CACHE_BYTES:
            self._cache = torch.cat([block for _, block in self._standardized()])

    def _standardized(self) -> Iterator[tuple[int, Tensor]]:
        for start, block in iter_blocks(self.x, torch.float64):
            yield start, ((block - self.mean) / self.scale).to(self.dtype)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        if self._cache is None:
            yield from self._standardized()
            return
        step = max(1, BLOCK_BYTES // (self.d * self.dtype.itemsize))
        for start in range(0, self.n, step):
            yield start, self._cache[start : start + step]

    def take(self, index: Tensor) -> Tensor:
        if self._cache is not None:
            return self._cache[index]
        rows = to_tensor(select_rows(self.x, index), torch.float64)
        return ((rows - self.mean) / self.scale).to(self.dtype)

    def raw(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights for standardised features -> weights for the features as they were given."""
        raw = weight.double() / self.scale
        return raw.to(self.dtype), (bias.double() - raw @ self.mean).to(self.dtype)
