"""Checkpoints that are whole or absent, and a clean stop on Ctrl-C or SIGTERM."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch

from tacit import distributed
from tacit.errors import TacitError
from tacit.training.folder import write_atomic
from tacit.training.module import TrainingModule
from tacit.training.stream import RawBatch
from tacit.training.together import lost_process
from tacit.untrusted import read_json

log = logging.getLogger("tacit")

CHECKSUMS, PREVIOUS = "checksums.json", "previous.ckpt"


def save_checkpoint(trainer: L.Trainer, path: Path) -> None:
    """Write to a temporary file, fsync, rename; the one before is kept as `previous.ckpt`.

    `checksums.json` is written before the renames and knows both the old and the new file of each
    name, so that a crash at any point leaves at least one checkpoint that is whole and known.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            known = _checksums(path.parent)
            older = known.get(path.name, [])[:1]
            known = {
                path.name: [_digest(temporary), *older],
                PREVIOUS: [*older, *known.get(PREVIOUS, [])[:1]],
            }
            write_atomic(path.parent / CHECKSUMS, json.dumps(known, indent=1) + "\n")
            if path.is_file():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        if not trainer.is_global_zero or lost_process(error):
            raise
        temporary.unlink(missing_ok=True)
        raise TacitError(
            f"Cannot write the checkpoint '{path}': {error}. The previous checkpoint is kept; "
            "free some disk space and resume."
        ) from error


def find_checkpoint(path: Path) -> Path | None:
    """The newest whole checkpoint: `path`, or the one before it; None before the first.

    Raises
    ------
    TacitError : there are checkpoints, but each is damaged.
    """
    known = _checksums(path.parent)
    damaged: list[Path] = []
    for candidate in (path, path.with_name(PREVIOUS)):
        if not candidate.is_file():
            continue
        if _digest(candidate) in known.get(candidate.name, []):
            if damaged:
                log.warning("'%s' is damaged; the one before it is used.", damaged[0])
            return candidate
        damaged.append(candidate)
    if damaged:
        raise TacitError(
            f"The checkpoint '{damaged[0]}' is damaged: its checksum is not the one that was "
            "recorded when it was written, and there is no older one. Restore it from a copy, or "
            f"start again with `tacit pretrain --recipe {path.parents[1] / 'recipe.yaml'} "
            "--out OTHER`."
        )
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: tensors, numbers and texts.

    Raises
    ------
    TacitError : it is damaged, no checkpoint of tacit, or holds other objects, which are refused.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises errors of zip, of pickle and its own
        found = re.search("Unsupported [^.]*", str(error))
        raise TacitError(
            f"The checkpoint '{path}' cannot be read: it is damaged, or holds more than tensors, "
            f"numbers and texts, which is refused ({found[0] if found else type(error).__name__})."
        ) from error
    if not (isinstance(state, dict) and {"state_dict", "global_step", "loops"} <= state.keys()):
        raise TacitError(f"The checkpoint '{path}' is none that tacit wrote.")
    return state


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _checksums(folder: Path) -> dict[str, list[str]]:
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        known = read_json(path, "")
    except TacitError:
        return {}
    return {name: digests for name, digests in known.items() if isinstance(digests, list)}


class CheckpointCallback(L.Callback):
    """Saves every `seconds` and at the end; turns SIGINT and SIGTERM into a saved stop.

    All processes save and stop at the same step, and only where a step is whole.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.interval = path, seconds
        self.signal: int | None = None  # what all processes stop for
        self._received = 0
        self._saved_at, self._handlers = 0.0, {}  # type: tuple[float, dict[int, Any]]

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        # Lightning's handler of SIGTERM waits for the other processes, wherever this one is.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: FrameType | None) -> None:
            # The trainer is not told yet: another process may be a step further than this one.
            self._received = number
            self._restore()  # a second signal stops at once

        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, stop)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Any,
        batch: RawBatch,
        i: int,
    ) -> None:
        assert isinstance(module, TrainingModule)
        if (batch.micro_step + 1) % module.recipe.accumulate:
            return  # gradients of half a step are in no checkpoint
        due = time.monotonic() - self._saved_at > self.interval
        if self._agree(trainer, module, due):
            save_checkpoint(trainer, self.path)
            self._saved_at = time.monotonic()

    def _agree(self, trainer: L.Trainer, module: L.LightningModule, due: bool = False) -> bool:
        """Whether one process has to save; what one has to stop for, all do."""
        stop, save = distributed.all_reduce_max([self._received, due], module.device)
        if stop:
            self.signal, trainer.should_stop = int(stop), True
        return bool(save)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        save_checkpoint(trainer, self.path)
        self._agree(trainer, module)
        self._restore()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: Any) -> None:
        self._restore()

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self._restore()  # where no step was left, training neither began nor ended
