"""Random numbers inside a method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.distributed import rank


class SharedGenerator(nn.Module):
    """Fresh generators that are the same on every process and after a resume.

    Methods that draw for the whole batch (a mixing weight, a partition) must draw alike on all
    processes. The state is two buffers, so a checkpoint continues the sequence.

    Parameters
    ----------
    seed : start of the sequence; None draws it as initial weights are drawn.

    >>> a, b = SharedGenerator(seed=1), SharedGenerator(seed=1)
    >>> bool((torch.rand(3, generator=a.next()) == torch.rand(3, generator=b.next())).all())
    True
    """

    seed: Tensor
    calls: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        start = torch.randint(2**62, ()) if seed is None else torch.tensor(seed)
        self.register_buffer("seed", start)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def next(self, *, apart: bool = False) -> torch.Generator:
        """A generator on the CPU that no earlier call returned.

        `apart`: another one on every process, for what each draws for its own samples.
        """
        process = rank() << 40 if apart else 0
        generator = torch.Generator().manual_seed(int(self.seed) + int(self.calls) + process)
        self.calls += 1
        return generator
