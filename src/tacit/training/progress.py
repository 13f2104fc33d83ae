"""The progress bar: speed, time left, loss and the label-free health of the representation."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from tacit.training.metrics_callback import MetricsCallback
from tacit.training.module import TrainingModule
from tacit.training.monitor import MonitorCallback

LINE_EVERY = 30.0  # seconds between lines where there is no terminal


def clock(seconds: float) -> str:
    """`75` -> `1:15`; `3700` -> `1:01:40`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


class ProgressCallback(L.Callback):
    """A bar on a terminal, a line every 30 s elsewhere."""

    def __init__(self, metrics: MetricsCallback, monitor: MonitorCallback | None) -> None:
        self.metrics, self.monitor = metrics, monitor
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._first_fraction, self._start, self._line_at = 0.0, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self._start = self._line_at = time.monotonic()
        self._first_fraction = module.fraction
        if self.console.is_terminal and trainer.is_global_zero:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[words]}"),
                console=self.console,
                expand=True,
            )
            self._task = self._bar.add_task(module.recipe.method, total=1.0, words="")
            self._bar.start()

    def words(self, trainer: L.Trainer, module: TrainingModule) -> str:
        """`step 120/400  5,123 samples/s  1:23 left  loss 4.231  RankMe 35.2 healthy`."""
        total = f"/{module.total_steps}" if module.total_steps else ""
        done = module.fraction - self._first_fraction
        parts = [f"step {trainer.global_step}{total}", f"{self.metrics.speed:,.0f} samples/s"]
        if done > 0:
            left = (time.monotonic() - self._start) / done * (1 - module.fraction)
            parts.append(f"{clock(left)} left")
        if "loss" in module.latest:
            parts.append(f"loss {module.latest['loss'].item():.3f}")
        if self.monitor and self.monitor.health:
            parts.append(f"RankMe {self.monitor.values['rankme']:.1f} {self.monitor.health.state}")
        return "  ".join(parts)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        if not trainer.is_global_zero:
            return
        if self._bar:
            self._bar.update(
                self._task, completed=module.fraction, words=self.words(trainer, module)
            )
        elif time.monotonic() - self._line_at > LINE_EVERY:
            self._line(trainer, module)

    def _line(self, trainer: L.Trainer, module: TrainingModule) -> None:
        self._line_at = time.monotonic()
        text = f"{module.fraction:4.0%}  {self.words(trainer, module)}"
        self.console.print(text, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if self._bar is None and trainer.is_global_zero:
            self._line(trainer, module)
        self._stop()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: Any) -> None:
        self._stop()
