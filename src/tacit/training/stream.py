"""The order of samples as a pure function of (seed, step): resume needs no saved random state."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.seeds import seed_of


class RawBatch(NamedTuple):
    """One micro-batch: position in the run, raw samples (a tensor for images) and their rows."""

    micro_step: int
    samples: Any
    rows: Tensor


class BatchStream:
    """Endless micro-batches of a source, shuffled by epoch, incomplete last batches dropped.

    Parameters
    ----------
    source : has `batch(indices) -> Tensor`.
    positions : (n,) positions of the source that are trained on.
    batch_size : samples per optimiser step and process.
    accumulate : micro-batches per optimiser step; divides `batch_size`.
    seed : seed of the order.
    rank, world : this process's share of every global batch.
    """

    def __init__(
        self,
        source: Any,
        positions: np.ndarray,
        *,
        batch_size: int,
        accumulate: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source, self.positions, self.seed = source, positions, seed
        self.batch_size, self.accumulate = batch_size, accumulate
        self.rank, self.world = rank, world
        self.steps_per_epoch = len(positions) // (batch_size * world)
        self.micro_step = 0  # where iteration starts; set before a resumed run
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def indices(self, micro_step: int) -> np.ndarray:
        """Source positions of one micro-batch of this process."""
        step, micro = divmod(micro_step, self.accumulate)
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng(seed_of(self.seed, 11, epoch))
            self._epoch, self._order = epoch, rng.permutation(self.positions)
        size = self.batch_size // self.accumulate
        start = (within * self.world + self.rank) * self.batch_size + micro * size
        return self._order[start : start + size]

    def _load(self, micro_step: int, index: np.ndarray) -> RawBatch:
        return RawBatch(micro_step, self.source.batch(index), torch.from_numpy(index))

    def __iter__(self) -> Iterator[RawBatch]:
        # One batch is read ahead in a thread, so that slow sources overlap with training.
        with ThreadPoolExecutor(1) as pool:
            position = self.micro_step
            ahead = pool.submit(self._load, position, self.indices(position))
            while True:
                batch = ahead.result()
                position += 1
                ahead = pool.submit(self._load, position, self.indices(position))
                yield batch
