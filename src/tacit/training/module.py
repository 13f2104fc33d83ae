"""The LightningModule: views, loss, optimiser and progress of one method."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from tacit import distributed
from tacit.errors import TacitError
from tacit.methods.base import Batch, Method, Progress
from tacit.recipe import Recipe
from tacit.seeds import seed_of, seed_torch
from tacit.training.optim import build_optimizer
from tacit.training.schedule import lr_factor
from tacit.training.stream import RawBatch
from tacit.views import Views

log = logging.getLogger("tacit")


class TrainingModule(L.LightningModule):
    """Trains a method by a resolved recipe.

    Every random number of a step comes from (seed, step, rank), so a resumed run sees what the
    uninterrupted one would have seen.

    Parameters
    ----------
    method : what is trained.
    views : raw batch, generator -> list of views.
    recipe : resolved (total steps or max_time known).
    total_steps : optimiser steps of the whole run, or None where only time limits it.
    steps_per_epoch : optimiser steps of one pass over the data.
    """

    def __init__(
        self,
        method: Method,
        views: nn.Module,
        recipe: Recipe,
        *,
        total_steps: int | None,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.method, self.views, self.recipe = method, views, recipe
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.generator: torch.Generator | None = None
        self.latest: dict[str, Tensor] = {}
        self.skipped, self._skipping = 0, False  # batches; whether none of this step was good
        self._earlier_seconds, self._started = 0.0, time.monotonic()
        self._clock, self._sharded = 0.0, False

    @property
    def seconds(self) -> float:
        """Training time so far, earlier sessions of a resumed run included."""
        return self._earlier_seconds + time.monotonic() - self._started

    @property
    def fraction(self) -> float:
        """Share of the run that is done: of its steps or of its time, whichever is further."""
        shares = [0.0]
        if self.total_steps is not None:
            shares.append(self.global_step / self.total_steps)
        if self.recipe.max_time is not None:
            shares.append(self._clock / self.recipe.max_time)
        return min(max(shares), 1.0)

    def configure_model(self) -> None:
        """Divide the weights, where the strategy does; Lightning calls it before the optimiser."""
        if self.device_mesh is not None and not self._sharded:
            from tacit.training.sharding import shard

            shard(self, self.device_mesh["data_parallel"], ("training_step", "project"))
            self._sharded = True

    def project(self, x: Tensor) -> Tensor:
        """The method's `project`, also where its weights are divided."""
        return self.method.project(x)

    def on_fit_start(self) -> None:
        # Drawing the views of images on the CPU spares a GPU the waiting; see `Views`.
        images = self.recipe.modality == "image"
        self.generator = torch.Generator("cpu" if images else self.device)
        if self.device.type == "cpu" and self.total_steps is not None:
            for part in self.views.modules():
                if isinstance(part, Views):
                    part.fuse(samples=self.total_steps * (self.recipe.batch_size or 0))
        self._started = time.monotonic()
        self._read_clock()

    def _read_clock(self) -> None:
        """One time for all processes: where it limits the run they must stop at the same step."""
        if self.recipe.max_time is not None:
            self._clock = distributed.broadcast_float(self.seconds)

    def training_step(self, raw: RawBatch, batch_index: int) -> Tensor:
        step, micro = divmod(raw.micro_step, self.recipe.accumulate)
        if micro == 0:
            fraction = self.fraction
            self.method.progress = Progress(step, step // self.steps_per_epoch, fraction)
            self._set_lr(fraction)
            self._skipping = True
        assert self.generator is not None
        seed = seed_of(self.recipe.seed, raw.micro_step, distributed.rank())
        self.generator.manual_seed(seed)
        seed_torch(seed)
        with torch.autocast(self.device.type, enabled=False):
            views = self.views(raw.samples, self.generator)
        bad = _not_finite(views)
        if any(distributed.all_reduce_max([bad is not None], self.device)):
            return self._skip(step, [] if bad is None else raw.rows[bad.cpu()].tolist())
        self._skipping = False
        try:
            losses = self.method.training_loss(Batch(views, raw.rows))
        except ValueError as error:
            if isinstance(error, TacitError) or not _of_tacit(error):
                raise
            raise TacitError(f"{self.recipe.method}, step {step}: {error}.") from error
        terms = {"loss": losses.total, **losses.parts}
        values = torch.stack([term.detach().to(losses.total) for term in terms.values()])
        self.latest = dict(zip(terms, distributed.all_reduce_mean(values), strict=True))
        if not torch.isfinite(self.latest["loss"]):
            raise TacitError(
                f"The loss is {self.latest['loss'].item()} at step {step}. What usually helps: a "
                "lower --lr, longer warm-up (--set schedule.warmup=0.1), --set clip_norm=1, or "
                "--precision 32."
            )
        return losses.total

    def _skip(self, step: int, rows: list[int]) -> Tensor:
        """Leave a batch with NaN or infinite values out: nothing sees it, nothing is updated.

        All processes leave out what one of them has to; `rows` are the bad ones of this process.
        """
        every = [row for own in distributed.gather_objects(rows) for row in own]
        named = ", ".join(str(row) for row in every[:8])
        self.skipped += 1
        if self.skipped > self.recipe.max_bad_batches:
            raise TacitError(
                f"NaN or infinite values in the views at step {step}, from samples {named} of "
                f"'{self.recipe.data}' ({self.skipped} such batches). Repair or remove these "
                "samples, or look at what the views do to them."
            )
        log.warning("step %d left out: NaN or infinite values from samples %s", step, named)
        return torch.zeros((), device=self.device, requires_grad=True)

    def _set_lr(self, fraction: float) -> None:
        factor = lr_factor(fraction, self.recipe.schedule)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = group["base_lr"] * (1.0 if group["constant_lr"] else factor)

    @property
    def lr(self) -> float:
        """Learning rate of the first parameter group now."""
        return float(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._skipping:
            self.method.before_step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if not self._skipping:
            self.method.after_step()  # here, so that a checkpoint of this step has it
        self._read_clock()

    def on_train_batch_end(self, outputs: Any, batch: RawBatch, batch_index: int) -> None:
        if self.fraction >= 1.0:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.recipe.batch_size is not None
        return build_optimizer(
            self.method,
            self.recipe.optimizer,
            global_batch=self.recipe.batch_size * distributed.world_size(),
            constant=self.method.constant_lr_parameters(),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tacit"] = {"seconds": self.seconds, "skipped": self.skipped}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._earlier_seconds = checkpoint["tacit"]["seconds"]
        self.skipped = checkpoint["tacit"]["skipped"]


def _of_tacit(error: BaseException) -> bool:
    """Whether tacit itself raised it: a refusal in words, not a bug to be traced."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_globals["__name__"].startswith("tacit.")


def _not_finite(views: list[Any]) -> Tensor | None:
    """Mask (N,) of the samples with NaN or infinite values in a view; None where all are finite."""
    tensors = [v for v in views if isinstance(v, Tensor) and v.is_floating_point()]
    # A sum is one fast pass; only a sum that is not finite is looked at closely.
    if all(torch.isfinite(v.sum(dtype=torch.float64)) for v in tensors):
        return None
    return torch.stack([~torch.isfinite(v).flatten(1).all(1) for v in tensors]).any(0)
