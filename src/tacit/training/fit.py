"""Run a recipe: build everything, train, leave a complete run folder."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import nn

from tacit import distributed
from tacit.data import Source
from tacit.encoders import save_encoder
from tacit.encoders.chunked import plain
from tacit.errors import MissingExtraError, TacitError
from tacit.methods.base import Batch, Method
from tacit.modalities import modality
from tacit.recipe import Recipe
from tacit.repeatable import repeatable
from tacit.seeds import seed_of
from tacit.training.build import build_method, compile_networks
from tacit.training.checkpoint import CheckpointCallback, find_checkpoint, load_checkpoint
from tacit.training.explain import explain, interruption
from tacit.training.folder import RunFolder, write_atomic
from tacit.training.launch import (
    environment,
    rank,
    strategy,
    with_synchronised_norms,
)
from tacit.training.launcher import guarded
from tacit.training.metrics import MONITOR_COLUMNS
from tacit.training.metrics_callback import MetricsCallback
from tacit.training.module import TrainingModule
from tacit.training.monitor import MonitorCallback, Watch, evaluating
from tacit.training.progress import ProgressCallback
from tacit.training.resolve import resolve, total_steps
from tacit.training.sharding import check_shardable, make_whole
from tacit.training.stream import BatchStream
from tacit.training.together import Agreement, leave_at_exit

log = logging.getLogger("tacit")

MONITOR_CHUNK = 256  # samples of the reservoir in one forward pass


def _quiet() -> None:
    """Lightning's own banners and hints are about its API, which tacit's users do not see."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


def _loggers(recipe: Recipe, folder: Path) -> list[Logger]:
    loggers: list[Logger] = [TensorBoardLogger(folder, name="", version="tensorboard")]
    for name in recipe.loggers:
        try:
            if name == "wandb":
                from lightning.pytorch.loggers import WandbLogger

                loggers.append(WandbLogger(project="tacit", name=folder.name, save_dir=folder))
            else:
                from lightning.pytorch.loggers import MLFlowLogger

                loggers.append(MLFlowLogger("tacit", run_name=folder.name))
        except ModuleNotFoundError as error:
            raise MissingExtraError(name, "track", f"--log {name}") from error
    return loggers


def fit(
    recipe: Recipe,
    folder: RunFolder,
    method: type[Method],
    source: Source,
    *,
    encoder: nn.Module | None = None,
    resume: bool = False,
    progress: bool = True,
    watch: Watch | None = None,
) -> str:
    """Train by a recipe in a run folder.

    Parameters
    ----------
    recipe : complete or with open fields; the folder gets the complete one.
    folder : where everything is written; locked while this runs.
    method : the class that the recipe names.
    source : the data, of the recipe's modality.
    encoder : the user's own network instead of the recipe's.
    resume : continue from the folder's checkpoint.
    progress : show a bar.
    watch : is told of every look of the monitor; where it returns True, the run ends, pruned.

    Returns
    -------
    "finished", "interrupted" or "pruned".

    Raises
    ------
    TacitError : the folder is in use, nothing to resume, loss not finite, disk full, bad input.
    """
    _quiet()
    recipe = recipe if resume else resolve(recipe, method, source)
    first = rank() == 0  # of the processes of this run: the one that writes
    try:
        if first:
            folder.lock()
            folder.sweep()
        with (
            guarded(lambda state, reason: folder.set_status(state, error=reason)),
            _repeatable(recipe),
        ):
            return _fit(recipe, folder, method, source, encoder, resume, progress, watch)
    except BaseException as error:
        error = interruption(error)
        state = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        explained = explain(error, recipe, folder)
        if folder.locked:
            with contextlib.suppress(TacitError):  # a full disk takes no status either
                reason = explained or error
                folder.set_status(state, error=f"{type(reason).__name__}: {reason}")
        if explained is None:
            raise error
        raise explained from error
    finally:
        folder.unlock()


def _repeatable(recipe: Recipe) -> AbstractContextManager[None]:
    """Kernels that repeat; sums over the neighbours in a graph have none on GPUs."""
    if not recipe.repeatable:
        return contextlib.nullcontext()
    return repeatable(strict=recipe.modality in ("image", "series"))


def _fit(
    recipe: Recipe,
    folder: RunFolder,
    method_class: type[Method],
    source: Source,
    encoder: nn.Module | None,
    resume: bool,
    show: bool,
    watch: Watch | None,
) -> str:
    checkpoint = find_checkpoint(folder.checkpoint_path) if resume else None
    kind = modality(recipe.modality)
    spec = kind.input_spec(recipe, source)
    training, reservoir = kind.reservoir(source, recipe)
    assert recipe.batch_size is not None
    stream = BatchStream(
        source,
        training,
        batch_size=recipe.batch_size,
        accumulate=recipe.accumulate,
        seed=recipe.seed,
        rank=rank(),
        world=recipe.devices * recipe.nodes,
    )
    if checkpoint is not None:
        stream.micro_step = load_checkpoint(checkpoint)["global_step"] * recipe.accumulate
    elif resume:
        log.warning("'%s' stopped before its first checkpoint: it begins again.", folder.path)
    sharded = recipe.strategy == "fsdp" and stream.world > 1
    views = kind.training_views(recipe, spec)
    steps = total_steps(recipe, len(training))
    method = build_method(method_class, recipe, spec, encoder)
    method.prepare(source)
    method = with_synchronised_norms(method, recipe)
    if sharded:
        check_shardable(method, own_encoder=encoder is not None)
    if recipe.compile:
        compile_networks(method)
    module = TrainingModule(
        method,
        views,
        recipe,
        total_steps=steps,
        steps_per_epoch=stream.steps_per_epoch,
    )
    first = rank() == 0
    if first and not resume:
        write_atomic(folder.recipe_path, recipe.to_yaml())
        folder.write_environment(recipe.seed)

    images = recipe.batch_size * stream.world
    also = [name for name in recipe.monitor.criteria if name not in MONITOR_COLUMNS]
    metrics = MetricsCallback(folder.metrics_path, [*MONITOR_COLUMNS, *also], images)
    monitor = None
    if len(reservoir) >= 8:
        assert recipe.monitor.every is not None
        chunk = source.chunk or MONITOR_CHUNK
        chunks = [source.batch(reservoir[i : i + chunk]) for i in range(0, len(reservoir), chunk)]
        view = kind.eval_view(spec)
        monitor = MonitorCallback(chunks, view, recipe.monitor.every, metrics, also, watch)
    saver = CheckpointCallback(folder.checkpoint_path, recipe.checkpoint_every)
    agreement = Agreement(
        {
            "the number of samples": len(source),
            "the content of the data": source.fingerprint,
            "the step to continue from": stream.micro_step // stream.accumulate,
            **{f"'{name}' of the recipe": value for name, value in recipe.model_dump().items()},
        }
    )
    candidates = (agreement, monitor, metrics, saver)
    callbacks: list[L.Callback] = [c for c in candidates if c is not None]
    if show:
        callbacks.insert(-1, ProgressCallback(metrics, monitor))
    trainer = L.Trainer(
        accelerator="auto",
        devices=recipe.devices,
        num_nodes=recipe.nodes,
        strategy=strategy(recipe),
        plugins=[environment(recipe)],
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        max_steps=-1 if steps is None else steps,
        max_epochs=-1,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm,
        use_distributed_sampler=False,
        logger=_loggers(recipe, folder.path),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder.path,
    )
    if first:
        skipped = [list(s) for s in source.skipped]
        folder.set_status("running", pid=os.getpid(), skipped=skipped)
    if stream.world > 1:
        leave_at_exit()
    trainer.fit(
        module,
        train_dataloaders=stream,
        ckpt_path=checkpoint,
        weights_only=True,
    )
    if monitor is not None and monitor.health is None:  # resumed when no step was left
        monitor.look(trainer, module)
    if sharded:
        make_whole(method)
    pruned = monitor is not None and monitor.stopped
    state = "interrupted" if saver.signal is not None else "pruned" if pruned else "finished"
    distributed.patient()  # the last step may take hours
    if first:
        if state == "finished":
            _finish(module, stream)
        name = recipe.encoder if encoder is None else "custom"
        about = {"name": name, "options": recipe.encoder_options, "modality": recipe.modality}
        save_encoder(plain(module.method.encoder), folder.path, spec={**about, **spec})
        folder.set_status(
            state,
            step=trainer.global_step,
            seconds=module.seconds,
            loss=module.latest["loss"].item() if module.latest else None,
            monitor_seconds=monitor.seconds if monitor else 0.0,
            skipped_batches=module.skipped,
            signal=saver.signal,
            health=monitor.health.state if monitor and monitor.health else None,
            health_message=monitor.health.message if monitor and monitor.health else None,
            **(monitor.values if monitor else {}),
        )
    distributed.barrier()  # the run is whole when any process goes on
    return state


def _finish(module: TrainingModule, stream: BatchStream) -> None:
    """The method's last step, on one process, with as many batches a pass as the data has."""
    size = stream.batch_size // stream.accumulate
    whole = BatchStream(
        stream.source, stream.positions, batch_size=size, accumulate=1, seed=stream.seed
    )

    def batches() -> Iterator[Batch]:
        generator = torch.Generator(device=module.device)
        for step in range(whole.steps_per_epoch):
            generator.manual_seed(seed_of(module.recipe.seed, 13, step))
            index = whole.indices(step)
            raw = whole.source.batch(index).to(module.device)
            yield Batch(module.views(raw, generator), torch.from_numpy(index))

    with evaluating(module.method), torch.enable_grad():
        module.method.finish(batches)
