"""Checkpoints that are whole or absent, and a clean stop on Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from tacit.errors import TacitError


def save_checkpoint(trainer: L.Trainer, path: Path) -> None:
    """Write to a temporary file, fsync, rename: a crash leaves the previous checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TacitError(
            f"Cannot write the checkpoint '{path}': {error}. The previous checkpoint is kept; "
            "free some disk space and resume."
        ) from error


class CheckpointCallback(L.Callback):
    """Saves every `seconds` and at the end; turns SIGINT and SIGTERM into a saved stop."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.interval = path, seconds
        self.signal: int | None = None
        self._saved_at, self._handlers = 0.0, {}  # type: tuple[float, dict[int, Any]]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()

        def stop(number: int, frame: FrameType | None) -> None:
            self.signal = number
            trainer.should_stop = True
            self._restore()  # a second signal stops at once

        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, stop)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        if time.monotonic() - self._saved_at > self.interval:
            save_checkpoint(trainer, self.path)
            self._saved_at = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        save_checkpoint(trainer, self.path)
        self._restore()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: Any) -> None:
        self._restore()
