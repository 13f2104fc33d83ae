"""Seeds as pure functions of where a run stands: a resumed run needs no saved random state."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """One 63-bit seed from several integers, well mixed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_torch(seed: int) -> None:
    """Seed torch's global generators, as `torch.manual_seed` does.

    Where there is nothing but CPU and NVIDIA GPUs this leaves out the third of a millisecond in
    which that one notes, for kinds of hardware that are not there, where it was called.
    """
    import torch

    if torch.backends.mps.is_available() or torch.xpu.is_available():
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)


def split_reservoir(n: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training, reservoir) positions: at most a tenth of the data is held out for monitoring."""
    order = np.random.default_rng(seed_of(seed, 7)).permutation(n)
    held = min(samples, n // 10)
    return np.sort(order[held:]), np.sort(order[:held])
