"""Learning-rate shapes as pure functions of the fraction of the run that is done."""

from __future__ import annotations

import math

from tacit.recipe import ScheduleConfig


def warmup_cosine(
    step: float, total: float, warmup: float, base: float, final_ratio: float = 1e-3
) -> float:
    """Learning rate at `step` of `total`: linear from 0 to `base` over `warmup` steps, then cosine
    to `base * final_ratio` (Barlow Twins' schedule, Zbontar et al., 2021).

    >>> [round(warmup_cosine(step, 100, 10, base=0.2), 4) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.1, 0.2, 0.1001, 0.0002]
    """
    if step < warmup:
        return base * step / warmup
    done = min((step - warmup) / (total - warmup), 1.0) if total > warmup else 1.0
    q = (1 + math.cos(math.pi * done)) / 2
    return base * q + base * final_ratio * (1 - q)


def lr_factor(fraction: float, config: ScheduleConfig) -> float:
    """Factor of the base learning rate at `fraction` in [0, 1] of the run.

    Linear warm-up from 0 over `warmup`, then cosine to `final`, constant, or steps by `gamma` at
    the milestones.

    >>> lr_factor(0.5, ScheduleConfig(name="constant", warmup=0.0))
    1.0
    """
    if fraction < config.warmup or config.name == "cosine":
        return warmup_cosine(fraction, 1.0, config.warmup, 1.0, config.final)
    if config.name == "constant":
        return 1.0
    return config.gamma ** sum(fraction >= m for m in config.milestones)
