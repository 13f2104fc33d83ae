"""What a run writes to its metrics.csv, and when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L

from tacit.training.metrics import MetricsFile
from tacit.training.module import TrainingModule

EVERY = 10  # steps between rows


class MetricsCallback(L.Callback):
    """Writes loss, its parts, learning rate, speed and the monitor's criteria."""

    def __init__(self, path: Path, monitor_columns: list[str], images_per_step: int) -> None:
        self.path, self.monitor_columns = path, monitor_columns
        self.images_per_step = images_per_step
        self.pending: dict[str, Any] = {}
        self.speed = 0.0
        self._file: MetricsFile | None = None
        self._last = (0, 0.0)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        earlier = MetricsFile(self.path, [])
        if trainer.is_global_zero:
            earlier.truncate(trainer.global_step)
        self._file = earlier if earlier.columns else None
        self._last = (trainer.global_step, time.monotonic())

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        step = trainer.global_step
        first_step, first_time = self._last
        if step == first_step or (step % EVERY and not self.pending):
            return
        now = time.monotonic()
        if step % EVERY == 0 or not self.speed:
            self.speed = (step - first_step) * self.images_per_step / max(now - first_time, 1e-9)
            self._last = (step, now)
        pending, self.pending = self.pending, {}
        if not trainer.is_global_zero:
            return
        row = {
            "step": step,
            "epoch": step / module.steps_per_epoch,
            "seconds": module.seconds,
            "samples_per_second": self.speed,
            "lr": module.lr,
            **{name: value.item() for name, value in module.latest.items()},
        }
        if self._file is None:
            self._file = MetricsFile(self.path, [*row, *self.monitor_columns])
        self._file.append({**row, **pending})
        for logger in trainer.loggers:
            numbers = {k: v for k, v in {**row, **pending}.items() if not isinstance(v, str)}
            logger.log_metrics(numbers, step)
