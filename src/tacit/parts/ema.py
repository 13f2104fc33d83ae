"""The target network: an exponential moving average of the online network."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

Schedule = Literal["cosine", "linear", "constant"]


class EMA(nn.Module):
    r"""A copy of a module whose parameters follow it slowly.

    .. math:: \xi \leftarrow m \xi + (1 - m) \theta

    with m going from ``base`` to ``final`` over training; the cosine schedule is
    :math:`m = final - (final - base)(\cos(\pi t) + 1)/2` for progress t in [0, 1].

    Parameters
    ----------
    module
        The online network; it is copied, not kept.
    base, final
        m at the start and at the end, in [0, 1].
    schedule
        ``"cosine"``, ``"linear"`` or ``"constant"`` (``base`` throughout).
    buffers
        ``"keep"``: buffers are the target's own (BatchNorm in train mode fills its running
        statistics from the target's passes). ``"copy"``: they are copied from the online network.
    target
        Start from this module (another initialisation) in the place of a copy.

    The target follows ``train()`` and ``eval()`` as any module; in train mode its BatchNorm uses
    batch statistics. It never gets a gradient.

    References
    ----------
    Grill et al., Bootstrap Your Own Latent, 2020, section 3.

    Examples
    --------
    >>> import torch
    >>> online = torch.nn.Linear(2, 2)
    >>> ema = EMA(online, base=0.9, final=1.0)
    >>> ema.momentum(0.0), ema.momentum(1.0)
    (0.9, 1.0)
    >>> torch.equal(ema(torch.ones(1, 2)), online(torch.ones(1, 2)))
    True
    """

    def __init__(
        self,
        module: nn.Module,
        base: float = 0.996,
        final: float = 1.0,
        schedule: Schedule = "cosine",
        *,
        buffers: Literal["keep", "copy"] = "keep",
        target: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("base", base), ("final", final)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        if schedule not in ("cosine", "linear", "constant"):
            raise ValueError(f"schedule must be cosine, linear or constant, got {schedule!r}")
        if buffers not in ("keep", "copy"):
            raise ValueError(f"buffers must be 'keep' or 'copy', got {buffers!r}")
        self.base, self.final, self.schedule, self.buffers_mode = base, final, schedule, buffers
        self.target = copy.deepcopy(module) if target is None else target
        self.target.requires_grad_(False)

    def momentum(self, progress: float) -> float:
        """m at ``progress`` in [0, 1] of the training."""
        if self.schedule == "constant":
            return self.base
        t = min(max(progress, 0.0), 1.0)
        if self.schedule == "cosine":
            t = (1 - math.cos(math.pi * t)) / 2
        return self.base + (self.final - self.base) * t

    @torch.no_grad()
    def update(self, module: nn.Module, progress: float = 0.0) -> None:
        """Move the target towards ``module``, once after every optimiser step.

        Raises
        ------
        ValueError
            If ``module`` has not the parameters of the target.
        """
        own: list[Tensor] = list(self.target.parameters())
        theirs: list[Tensor] = list(module.parameters())
        if [p.shape for p in own] != [p.shape for p in theirs]:
            raise ValueError("the module does not have the parameters that the target was made of")
        if own:
            torch._foreach_lerp_(own, theirs, 1 - self.momentum(progress))
        if self.buffers_mode == "copy":
            for mine, new in zip(self.target.buffers(), module.buffers(), strict=True):
                mine.copy_(new)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The target's output, without gradient."""
        return self.target(*args, **kwargs)
