"""The label-free monitor: is the representation learning, or collapsing?"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import lightning as L
import torch
from torch import Tensor, nn

from tacit import distributed
from tacit.errors import CollapseError, TacitError
from tacit.evaluation.criteria import criteria, online_criteria
from tacit.evaluation.health import CollapseAlarm, Health
from tacit.training.metrics_callback import MetricsCallback
from tacit.training.module import TrainingModule

log = logging.getLogger("tacit")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every sub-module's mode is restored."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for child, mode in modes:
            child.training = mode


class Look(NamedTuple):
    """What the monitor saw: share of the run that is done, criteria, the alarm's judgement."""

    fraction: float
    values: dict[str, float]
    health: Health


Watch: TypeAlias = Callable[[Look], bool]  # is told of every look; True stops the run there


class MonitorCallback(L.Callback):
    """Computes the criteria of a held-out reservoir every few steps and rings the alarm.

    Parameters
    ----------
    chunks : raw batches of the reservoir, each small enough for one forward pass.
    view : deterministic evaluation view, raw samples -> network input.
    every : optimiser steps between looks.
    metrics : where the values are written.
    also : further criteria to compute, by name.
    watch : is told of every look and may stop the run.
    """

    def __init__(
        self,
        chunks: list[Any],
        view: nn.Module,
        every: int,
        metrics: MetricsCallback,
        also: Sequence[str] = (),
        watch: Watch | None = None,
    ) -> None:
        self.chunks, self.view, self.every, self.metrics = chunks, view, every, metrics
        self.also, self.watch, self.stopped = also, watch, False
        self.alarm = CollapseAlarm()
        self.health: Health | None = None
        self.values: dict[str, float] = {}
        self.seconds = 0.0
        self._seen = -1

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self.look(trainer, module)
            self.metrics.pending = {}  # the untrained level; rows begin with the first step

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        step = trainer.global_step
        if step != self._seen and (step % self.every == 0 or module.fraction >= 1.0):
            self.look(trainer, module)

    @torch.no_grad()
    def embed(self, module: TrainingModule) -> Tensor:
        """Projections (M, d) of the reservoir in evaluation mode."""
        with evaluating(module.method):
            return torch.cat(
                [module.project(self.view(part.to(module.device))).float() for part in self.chunks]
            )

    def look(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """One measurement: criteria, alarm, log."""
        assert isinstance(module, TrainingModule)
        start = time.monotonic()
        self._seen = trainer.global_step
        with trainer.precision_plugin.forward_context():  # as a training step: no slower
            embeddings = self.embed(module)
        if not torch.isfinite(embeddings).all():
            raise TacitError(
                f"The embeddings are NaN or infinite after step {trainer.global_step}: the run "
                "diverged. What usually helps: a lower --lr, longer warm-up "
                "(--set schedule.warmup=0.1), --set clip_norm=1, or --precision 32."
            )
        self.values = online_criteria(embeddings) | _further(embeddings, self.also)
        was = self.health.state if self.health else "healthy"
        self.health = self.alarm.update(trainer.global_step, self.values)
        self.metrics.pending = {**self.values, "health": self.health.state}
        self.seconds += time.monotonic() - start
        if "collapse" in self.health.state and self.health.state != was:
            log.warning(self.health.message)
        if self.watch is not None:
            stop = self.watch(Look(module.fraction, self.values, self.health))
            if distributed.broadcast_float(stop):  # all processes stop, or none
                self.stopped = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"alarm": self.alarm.state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alarm.load_state_dict(state["alarm"])
        self.seconds = state["seconds"]


def _further(embeddings: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Criteria by name; NaN where the embeddings are all zero."""
    try:
        found = criteria(embeddings, names) if names else {}
    except CollapseError:
        return dict.fromkeys(names, math.nan)
    return {name: result.value for name, result in found.items()}
