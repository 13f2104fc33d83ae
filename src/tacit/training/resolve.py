"""Fill in what a recipe leaves open, from the method, the data and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import ValidationError

from tacit.data import Source
from tacit.errors import ConfigError, DataError, did_you_mean
from tacit.evaluation.select import DIRECTIONS
from tacit.methods.base import Method
from tacit.modalities import modality
from tacit.recipe import Recipe, explain

EPOCHS = 100
COMPILED = ("image", "series")  # kinds of data whose networks may be compiled
MONITOR_COST = 0.02  # share of the training time that the monitor may take


def bf16_pays(modality: str = "image") -> bool:
    """Whether bf16 is faster here: GPUs with bf16, CPUs with AMX, and for images AVX512-BF16.

    With AVX512-BF16 a training step on images takes less than half the time of float32; the small
    tensors of other data gain nothing.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ["_is_amx_tile_supported"]
    names += ["_is_avx512_bf16_supported"] if modality == "image" else []
    checks = (getattr(torch.cpu, name, None) for name in names)
    return any(check is not None and check() for check in checks)


def resolve_options(method: type[Method], options: dict[str, Any], name: str) -> Any:
    """The method's validated Config.

    Raises
    ------
    ConfigError : an unknown option (with a suggestion) or a value out of range.
    """
    try:
        return method.Config.model_validate(options)
    except ValidationError as error:
        raise ConfigError(explain(error, method.Config, f"options of {name}")) from None


def resolve(recipe: Recipe, method: type[Method], source: Source) -> Recipe:
    """A complete recipe: every None that has an answer is answered.

    Raises
    ------
    ConfigError : the fields contradict each other.
    DataError : fewer samples than one batch.
    """
    if source.modality != recipe.modality:
        raise DataError(
            f"'{source.name}' is {source.modality} data, but the recipe is for {recipe.modality} "
            "data. Start from the method's name, or correct `modality` in the recipe."
        )
    _check_criteria(recipe.monitor.criteria)
    kind = modality(recipe.modality)
    recipe = recipe.changed(kind.complete(recipe, source))
    training, reservoir = kind.reservoir(source, recipe)
    world = recipe.devices * recipe.nodes
    if recipe.batch_size is None:
        recipe = recipe.changed({"batch_size": max(len(training) // world, 1)})
    assert recipe.batch_size is not None
    if recipe.batch_size % recipe.accumulate:
        raise ConfigError(
            f"batch_size {recipe.batch_size} is not a multiple of accumulate {recipe.accumulate}."
        )
    if len(training) < recipe.batch_size * world:
        held = len(source) - len(training)
        raise DataError(
            f"'{recipe.data}' has {len(training)} samples to train on ({held} are held out for the "
            f"monitor), fewer than one batch of {recipe.batch_size * world}. Use a smaller "
            f"{'--batch-size' if recipe.forward_batch is None else '--effective-batch'} (at most "
            f"{len(training) // world}) or more data."
        )
    if recipe.compile and recipe.modality not in COMPILED:
        raise ConfigError(
            f"compile is for data of {' and '.join(COMPILED)}: networks on {recipe.modality} data "
            "work with matrices whose sizes change with every batch."
        )
    if recipe.compile and recipe.strategy == "fsdp":
        raise ConfigError("compile goes with the strategy ddp, not with fsdp.")
    options = resolve_options(method, recipe.options, recipe.method)
    n_views = recipe.n_views or method.n_views
    changes: dict[str, Any] = {
        "options": options.model_dump(),
        "n_views": n_views,
    }
    if recipe.precision == "auto":
        changes["precision"] = "bf16" if bf16_pays(recipe.modality) else "32"
    if recipe.epochs is None and recipe.steps is None and recipe.max_time is None:
        changes["epochs"] = EPOCHS
    if recipe.monitor.every is None:
        every = monitor_interval(
            max(len(reservoir), source.chunk or 0),
            recipe.batch_size * n_views,
            recipe.view_scale,
        )
        changes["monitor"] = {"every": every}
    return recipe.changed(changes)


def _check_criteria(names: Sequence[str]) -> None:
    known = [name for name in DIRECTIONS if name != "lidar"]  # it needs several views of a sample
    for name in names:
        if name not in known:
            raise ConfigError(
                f"monitor.criteria: there is no criterion '{name}' that the monitor can record."
                f"{did_you_mean(name, known)} Known: {', '.join(known)}."
            )


def total_steps(recipe: Recipe, n_training: int) -> int | None:
    """Optimiser steps of the run; None where only `max_time` limits it."""
    assert recipe.batch_size is not None
    per_epoch = n_training // (recipe.batch_size * recipe.devices * recipe.nodes)
    limits = []
    if recipe.steps is not None:
        limits.append(recipe.steps)
    if recipe.epochs is not None:
        limits.append(max(1, round(recipe.epochs * per_epoch)))
    return min(limits) if limits else None


def monitor_interval(samples: int, images_per_step: int, view_scale: float = 1.0) -> int:
    """Steps between looks so that they cost about 2 % of the training time, a multiple of 10.

    A training step costs about three forward passes of its views (forward, two backward); a look
    costs one forward pass of the reservoir, at full size.
    """
    wanted = samples / (3 * images_per_step * view_scale**2) / MONITOR_COST
    return 10 * max(1, -(-int(wanted) // 10))
