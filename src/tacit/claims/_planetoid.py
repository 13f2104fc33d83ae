"""Training on one whole graph, and its probe, for the claims on Planetoid data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.data.graph import GraphBatch, GraphSource
from tacit.data.open import open_source
from tacit.errors import DataError
from tacit.evaluation.graph_probes import linear_probe
from tacit.methods.base import Batch, Method
from tacit.recipe import Recipe
from tacit.training.optim import build_optimizer
from tacit.training.schedule import lr_factor

FULL = "planetoid:cora"  # `@DIR` names the folder of the original files


def open_planetoid(name: str, data: str | None) -> GraphSource:
    """A Planetoid set from where `data` ("planetoid:cora@DIR") has its files."""
    if not (data or FULL).startswith("planetoid:"):
        raise DataError(f"'{data}' is not a Planetoid set; for a folder write {FULL}@{data}")
    _, at, folder = (data or FULL).partition("@")
    source: Any = open_source(f"planetoid:{name}{at}{folder}")
    return source


def whole(source: GraphSource) -> GraphBatch:
    """The graph as one batch."""
    return source.batch(np.arange(len(source)))


def train_whole(
    method: Method,
    graph: GraphBatch,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    watch: Callable[[int], None] | None = None,
) -> None:
    """`epochs` steps on the whole graph, on the schedule of the recipe's full length.

    `watch` is called with the number of steps done after every fiftieth.
    """
    optimizer = build_optimizer(method, recipe.optimizer, global_batch=1)
    assert recipe.epochs is not None
    torch.manual_seed(seed)
    method.train()
    for epoch in range(epochs):
        factor = lr_factor(min(epoch / recipe.epochs, 1.0), recipe.schedule)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        loss = method.training_loss(Batch([graph])).total  # type: ignore[list-item]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watch is not None and (epoch + 1) % 50 == 0:
            watch(epoch + 1)
    method.eval()


def probe_percent(z: Tensor, source: GraphSource, seed: int, **options: Any) -> dict[str, float]:
    """Test accuracies of the published linear probe, in per cent."""
    masks = (source.train_rows, source.val_rows, source.test_rows)
    assert source.labels is not None
    keep = [rows[source.labels[rows] >= 0] for rows in masks if rows is not None]
    result = linear_probe(z, torch.from_numpy(source.labels), keep, seed=seed, **options)
    return {
        "accuracy, last epoch (%)": 100 * result.last,
        "accuracy, best validation (%)": 100 * result.best,
    }
