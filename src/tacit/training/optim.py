"""Optimisers and their parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tacit.recipe import OptimizerConfig
from tacit.training.muon import Muon


class LARS(Optimizer):
    """SGD with momentum whose step on each matrix is scaled by ||p|| / ||g|| (You et al., 2017).

    For a parameter with `matrix=True` in its group, with g the gradient, p the parameter:

    - `clip=False` (official Barlow Twins, MoCo v3): g <- g + wd p; g <- trust ||p|| / ||g|| g.
    - `clip=True` (solo-learn): ratio = trust ||p|| / (||g|| + wd ||p|| + 1e-8), limited to
      ratio / lr <= 1; g <- min(ratio / lr, 1) (g + wd p).

    Then v <- momentum v + g; p <- p - lr v. Groups with `matrix=False` are plain SGD with momentum.

    >>> p = nn.Parameter(torch.ones(2, 2))
    >>> p.grad = torch.ones(2, 2)
    >>> LARS([p], lr=1.0, momentum=0.0, trust=0.1, clip=False).step()
    >>> round(float(p[0, 0].detach()), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        clip: bool = False,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust": trust,
            "clip": clip,
            "nesterov": nesterov,
            "matrix": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        # All parameters in one call an operation: on a GPU, single calls cost more than their work.
        raw: list[Tensor] = [p.grad for p in params]  # type: ignore[misc]
        grads = list(torch._foreach_add(raw, params, alpha=group["weight_decay"]))
        if group["matrix"]:
            torch._foreach_mul_(grads, self._ratios(params, raw, grads, group))
        if group["momentum"]:
            for p in params:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            velocities = [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, grads)
            if group["nesterov"]:
                torch._foreach_add_(grads, velocities, alpha=group["momentum"])
            else:
                grads = velocities
        torch._foreach_add_(params, grads, alpha=-group["lr"])

    @staticmethod
    def _ratios(
        params: list[Tensor], raw: list[Tensor], decayed: list[Tensor], group: dict[str, Any]
    ) -> list[Tensor]:
        p_norm = torch.stack(torch._foreach_norm(params))
        g_norm = torch.stack(torch._foreach_norm(raw if group["clip"] else decayed))
        if group["clip"]:
            ratio = group["trust"] * p_norm / (g_norm + group["weight_decay"] * p_norm + 1e-8)
            # at lr = 0 (first warm-up step) nothing moves, whatever the ratio
            ratio = (ratio / max(group["lr"], 1e-12)).clamp(max=1.0)
        else:
            ratio = group["trust"] * p_norm / g_norm.clamp_min(1e-38)
        usable = (p_norm > 0) & (g_norm > 0)
        return list(torch.where(usable, ratio, torch.ones_like(ratio)))


def parameter_groups(
    module: nn.Module, constant: Iterable[nn.Parameter] = (), *, decay_all: bool = False
) -> list[dict[str, Any]]:
    """Split into matrices and one-dimensional parameters (biases, norms), decayed or constant lr.

    One-dimensional parameters get no weight decay and no LARS scaling, unless `decay_all`.
    """
    fixed = {id(p) for p in constant}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in module.parameters():
        if p.requires_grad:
            groups.setdefault((p.ndim > 1, id(p) in fixed), []).append(p)
    return [
        {
            "params": params,
            "matrix": matrix,
            "constant_lr": is_fixed,
            **({} if matrix or decay_all else {"weight_decay": 0.0}),
        }
        for (matrix, is_fixed), params in groups.items()
    ]


def build_optimizer(
    module: nn.Module,
    config: OptimizerConfig,
    *,
    global_batch: int,
    constant: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """The optimiser of a recipe over all trainable parameters of `module`."""
    lr = config.lr * (global_batch / 256 if config.scale_lr else 1.0)
    groups = parameter_groups(module, constant, decay_all=config.decay_all)
    wd = config.weight_decay
    if config.name == "lars":
        optimizer: Optimizer = LARS(
            groups,
            lr,
            momentum=config.momentum,
            weight_decay=wd,
            trust=config.trust,
            clip=config.clip_lars,
            nesterov=config.nesterov,
        )
    elif config.name == "muon":
        optimizer = Muon(
            groups,
            lr,
            momentum=config.momentum,
            weight_decay=wd,
            vector_lr=config.vector_lr,
            betas=config.betas,
        )
    elif config.name == "sgd":
        optimizer = torch.optim.SGD(
            groups,
            lr,
            momentum=config.momentum,
            weight_decay=wd,
            nesterov=config.nesterov,
            foreach=True,
        )
    elif config.name == "adam":
        optimizer = torch.optim.Adam(groups, lr, betas=config.betas, weight_decay=wd, foreach=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr, betas=config.betas, weight_decay=wd, foreach=True)
    for group in optimizer.param_groups:
        group["base_lr"] = lr
    return optimizer
