"""Training in memory, for experiments that are too small for the trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tacit.encoders import Encoder
from tacit.methods.base import Batch, Method, Progress
from tacit.recipe import OptimizerConfig, ScheduleConfig
from tacit.registry import METHODS
from tacit.training.optim import build_optimizer
from tacit.training.schedule import lr_factor

ViewsFunction = Callable[[Tensor, torch.Generator], list[Tensor]]

CONSTANT = ScheduleConfig(name="constant", warmup=0.0)


def build_method(
    name: str, encoder: Callable[[], Encoder], *, seed: int, options: dict[str, Any] | None = None
) -> Method:
    """A method with new weights that depend on `seed` only.

    Parameters
    ----------
    name : of the method ("mv-dhel").
    encoder : builds the encoder; called after seeding.
    seed : of the initial weights. The global generator is left as it was.
    options : the method's own options; its defaults otherwise.
    """
    cls = METHODS.get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(encoder(), cls.Config(**(options or {})))


def train(
    method: Method,
    views: ViewsFunction,
    data: Tensor,
    *,
    optimizer: OptimizerConfig,
    batch_size: int,
    steps: int,
    seed: int,
    schedule: ScheduleConfig = CONSTANT,
    watch: Callable[[int], None] | None = None,
) -> list[float]:
    """Train `method` in place; returns the loss of every step.

    Every epoch is a new random order; an incomplete last batch is dropped.

    Parameters
    ----------
    method : trained in train mode, left in eval mode.
    views : batch of samples and generator -> list of views.
    data : (N, ...) all samples.
    optimizer, schedule : as in a recipe; the learning rate is constant by default.
    batch_size : samples a step, at most N.
    steps : optimiser steps.
    seed : of order and views.
    watch : called in eval mode with the number of steps done, after every tenth of the run.
    """
    generator = torch.Generator().manual_seed(seed)
    constant = method.constant_lr_parameters()
    update = build_optimizer(method, optimizer, global_batch=batch_size, constant=constant)
    an_epoch = len(data) // batch_size
    losses = []
    method.train()
    for step in range(steps):
        epoch, position = divmod(step, an_epoch)
        if position == 0:
            order = torch.randperm(len(data), generator=generator)
        index = order[position * batch_size : (position + 1) * batch_size]
        method.progress = Progress(step, epoch, step / steps)
        factor = lr_factor(step / steps, schedule)
        for group in update.param_groups:
            group["lr"] = group["base_lr"] * (1.0 if group["constant_lr"] else factor)
        loss = method.training_loss(Batch(views(data[index], generator), index)).total
        update.zero_grad()
        loss.backward()
        method.before_step()
        update.step()
        method.after_step()
        losses.append(float(loss.detach()))
        if watch is not None and 10 * (step + 1) // steps > 10 * step // steps:
            method.eval()
            watch(step + 1)
            method.train()
    method.eval()
    return losses


@torch.no_grad()
def apply(function: Callable[[Tensor], Tensor], data: Tensor, batch_size: int = 1000) -> Tensor:
    """`function` (a method's `embed` or `project`) over all samples, without gradient."""
    return torch.cat([function(part) for part in data.split(batch_size)])
