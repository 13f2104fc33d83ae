"""Learning-rate shapes as pure functions of the fraction of the run that is done."""

from __future__ import annotations

import math

from tacit.recipe import ScheduleConfig


def lr_factor(fraction: float, config: ScheduleConfig) -> float:
    """Factor of the base learning rate at `fraction` in [0, 1] of the run.

    Linear warm-up from 0 over `warmup`, then cosine to `final`, constant, or steps by `gamma` at
    the milestones.

    >>> lr_factor(0.5, ScheduleConfig(name="constant", warmup=0.0))
    1.0
    """
    if fraction < config.warmup:
        return fraction / config.warmup
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return config.gamma ** sum(fraction >= m for m in config.milestones)
    done = min((fraction - config.warmup) / (1 - config.warmup), 1.0)
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * done)) / 2
