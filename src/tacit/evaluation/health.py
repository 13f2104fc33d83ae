"""The collapse alarm: is the representation healthy, and if not, what is wrong since when?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from .criteria import online_criteria
from .inputs import Rows

State: TypeAlias = Literal["healthy", "warming up", "dimensional collapse", "complete collapse"]

# The levels were set on small SimCLR, VICReg and BYOL runs, healthy and broken on purpose
# (no predictor, no covariance term, no batch normalisation), and leave room on both sides.
CONSTANT_STD = 0.05  # spread of unit embeddings, as a share of 1 / sqrt(d), of constant outputs
CONSTANT_RANK = 1.5
VANISHED = 1e-6  # total variance, as a share of its peak: the embeddings shrank to a point
USEFUL_WIDTH = 128  # wide projectors are healthy with a small share of their width
HOPELESS = 0.06  # rank as a share of the useful width that is too low whatever came before
SHRINKING = (0.25, 0.75, 0.8)  # share of the width; of the peak rank; of the peak spread
FALLEN = (0.15, 0.4)  # share of the width; of the peak rank
PLUNGED = 0.25  # of the peak rank in training, at any width: untrained ones may have any rank
FADING = (0.75, 0.8, 0.1)  # of the rank, spread and total variance that training had, all three
RISING = 1.1  # above the lowest of the recent looks by this factor: on its way up
RECENT = 5  # looks


@dataclass(frozen=True)
class Health:
    """State of a representation, the step since which it lasts, and what it means in words."""

    state: State
    since_step: int | None
    message: str

    @property
    def collapsed(self) -> bool:
        return "collapse" in self.state


class CollapseAlarm:
    """Watches the online criteria of one run and says when the representation collapses.

    *Complete collapse*: every input gets nearly the same output (RankMe below 1.5, or the unit
    embeddings' standard deviation below 5 % of ``1 / sqrt(d)``, or a total variance that fell below
    a millionth of its peak, while the directions may look well). *Dimensional collapse*: the
    embeddings still differ, but in few directions: the rank is far below the useful width
    ``min(d, 128)`` and below its own peak (or very low from the start), or rank, spread and total
    variance fall together whatever the width, and does not recover; while such a rank is rising,
    the run is still warming up. A modest but stable rank is healthy, and so is the usual slow fall
    after an early peak, during which spread and variance stay.

    Parameters
    ----------
    warmup : looks at the start that never ring: an untrained network may have a low rank.
    patience : looks in a row that must agree before the state changes.

    >>> alarm = CollapseAlarm()
    >>> look = {"rankme": 30.0, "feature_std": 0.12, "width": 64}
    >>> [alarm.update(step, look).state for step in (0, 10, 20, 30)][-1]
    'healthy'
    >>> dead = {"rankme": 1.0, "feature_std": 0.0, "width": 64}
    >>> [alarm.update(step, dead).state for step in (40, 50)][-1]
    'complete collapse'
    """

    def __init__(self, warmup: int = 3, patience: int = 2) -> None:
        if warmup < 0 or patience < 1:
            raise ValueError("warmup must be at least 0 and patience at least 1.")
        self.warmup, self.patience = warmup, patience
        self._memory = _Memory()

    def update(self, step: int, criteria: Mapping[str, Any]) -> Health:
        """Take one look.

        Parameters
        ----------
        step : optimiser steps so far.
        criteria : floats or CriterionResults "rankme", "feature_std", "width" (the dictionary of
            `online_criteria`), and optionally "total_variance" and "loss".
        """
        memory = self._memory
        rank, std, width = (_number(criteria, key) for key in ("rankme", "feature_std", "width"))
        # A NaN rank or spread comes from embeddings without any variance.
        rank = rank if math.isfinite(rank) else 1.0
        spread = std * math.sqrt(width) if math.isfinite(std) else 0.0
        memory.since_peak += 1
        if rank > memory.peak_rank:
            memory.peak_rank, memory.peak_step, memory.since_peak = rank, step, 0
        if step > 0:
            memory.trained_rank = max(memory.trained_rank, rank)
            memory.trained_spread = max(memory.trained_spread, spread)
        memory.peak_spread = max(memory.peak_spread, spread)
        variance = criteria.get("total_variance")
        if variance is not None:
            variance = _number(criteria, "total_variance")
            memory.peak_variance = max(memory.peak_variance, variance)
            if step > 0:
                memory.trained_variance = max(memory.trained_variance, variance)
        vanished = variance is not None and variance < VANISHED * memory.peak_variance
        fading = (
            variance is not None
            and rank < FADING[0] * memory.trained_rank
            and spread < FADING[1] * memory.trained_spread
            and variance < FADING[2] * memory.trained_variance
        )
        seen: State = _judge(rank, spread, fading, width, memory)
        if vanished:
            seen = "complete collapse"
        memory.looks += 1
        memory.ranks = [*memory.ranks, rank][-RECENT:]
        memory.spreads = [*memory.spreads, spread][-RECENT:]

        if seen != memory.candidate:
            memory.candidate, memory.candidate_since, memory.candidate_looks = seen, step, 0
        memory.candidate_looks += 1
        if memory.looks <= self.warmup:
            return Health("warming up", None, "warming up: too early to judge.")
        if memory.candidate_looks >= self.patience:
            memory.state, memory.since = seen, memory.candidate_since
        elif memory.state == "warming up" and seen == "healthy":
            memory.state, memory.since = "healthy", step
        loss = criteria.get("loss")
        lowest = loss is not None and float(loss) <= memory.lowest_loss
        if loss is not None and math.isfinite(float(loss)):
            memory.lowest_loss = min(memory.lowest_loss, float(loss))
        message = _message(memory, rank, spread, int(width), lowest)
        return Health(memory.state, memory.since, message)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` remembers, as plain numbers and strings."""
        return asdict(self._memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._memory = _Memory(**state)


@dataclass
class _Memory:
    looks: int = 0
    peak_rank: float = 0.0
    trained_rank: float = 0.0
    trained_spread: float = 0.0
    trained_variance: float = 0.0
    peak_step: int = 0
    since_peak: int = 0
    peak_spread: float = 0.0
    peak_variance: float = 0.0
    ranks: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    lowest_loss: float = math.inf
    state: State = "warming up"
    since: int | None = None
    candidate: State = "healthy"
    candidate_since: int = 0
    candidate_looks: int = 0


def _number(criteria: Mapping[str, Any], key: str) -> float:
    if key not in criteria:
        raise ValueError(
            f"the alarm needs {key!r} among the criteria, but got only {sorted(criteria)}."
        )
    value = criteria[key]
    return float(getattr(value, "value", value))


def _judge(rank: float, spread: float, fading: bool, width: float, memory: _Memory) -> State:
    """The state that this look alone suggests, given the peaks and the recent looks."""
    # A rank that falls from its peak is not on its way up because it was lower before the peak.
    recent = memory.ranks[-memory.since_peak :]
    rising = rank > RISING * min(recent, default=math.inf)
    spreading = spread > RISING * min(memory.spreads, default=math.inf)
    if rank < CONSTANT_RANK or (spread < CONSTANT_STD and not spreading):
        return "complete collapse"
    share = rank / min(width, USEFUL_WIDTH)
    kept, kept_spread = rank / memory.peak_rank, spread / memory.peak_spread
    collapsed = (
        share < HOPELESS
        or (share < SHRINKING[0] and kept < SHRINKING[1] and kept_spread < SHRINKING[2])
        or (share < FALLEN[0] and kept < FALLEN[1])
        or rank < PLUNGED * memory.trained_rank
        or fading
    )
    if not collapsed:
        return "healthy"
    return "warming up" if rising else "dimensional collapse"


def _message(memory: _Memory, rank: float, spread: float, width: int, lowest: bool) -> str:
    level = (
        f"the effective rank (RankMe) of the {width}-dimensional embeddings is {rank:.1f}, its "
        f"peak was {memory.peak_rank:.1f} at step {memory.peak_step}; their spread is "
        f"{100 * spread:.0f} % of that of uniform embeddings"
    )
    if memory.state == "healthy":
        return f"healthy: {level}."
    if memory.state == "warming up":
        return f"warming up, too early to call it healthy: {level}."
    blind = " The loss is at its lowest: it does not show this." if lowest else ""
    if memory.state == "complete collapse":
        return (
            f"complete collapse since step {memory.since}: nearly every input gets the same "
            f"output; {level}.{blind} What usually helps: check that the method's protection is "
            "on (negatives, predictor with stop-gradient and slow target, variance term, "
            "centring), use batch normalisation in the projector, lower the learning rate, and "
            "restart: a completely collapsed run rarely recovers."
        )
    return (
        f"dimensional collapse since step {memory.since}: the embeddings still differ, but along "
        f"few directions; {level}.{blind} What usually helps: a larger weight of the "
        "decorrelation, uniformity or variance term, a lower temperature or a larger batch "
        "(contrastive), a predictor or a higher target momentum (BYOL, SimSiam), a higher mask "
        "ratio or detached targets (masked prediction), milder augmentation or a lower learning "
        "rate."
    )


def diagnose(history: Rows | Sequence[Mapping[str, Any]]) -> Health:
    """Health of one embedding matrix, or of a finished run from its recorded criteria.

    Parameters
    ----------
    history : (N, d) embeddings: judged without a past, so that only clear cases count as a
        collapse. Or one mapping a look, oldest first, with "step", "rankme", "feature_std",
        "width" and optionally "loss".

    >>> import torch
    >>> z = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    >>> diagnose(z).state, diagnose(torch.ones(256, 16)).state
    ('healthy', 'complete collapse')
    """
    if isinstance(history, (Tensor, np.ndarray)):
        return CollapseAlarm(warmup=0, patience=1).update(0, online_criteria(history))
    if len(history) == 0:
        raise ValueError("there is no look in the history to judge.")
    alarm = CollapseAlarm()
    for look in history:
        health = alarm.update(int(_number(look, "step")), look)
    return health
