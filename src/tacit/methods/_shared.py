"""Small steps that many methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from tacit.distributed import all_gather, count_rows, world_size
from tacit.errors import ConfigError
from tacit.methods.base import Batch, Method


def two_views(method: Method, batch: Batch) -> list[Tensor]:
    """The views of a method that is defined for exactly two.

    Raises
    ------
    ConfigError : another number of views.
    """
    if len(batch.views) != 2:
        raise ConfigError(
            f"{type(method).__name__} takes 2 views of every sample, got {len(batch.views)}; "
            "set n_views to 2 and use views without small crops."
        )
    return batch.views


def gather_each(embeddings: Iterable[Tensor]) -> list[Tensor]:
    """Every view with the rows of all processes, each view apart (differentiable)."""
    views = list(embeddings)
    rows = count_rows(len(views[0]), views[0].device)
    return [all_gather(z, rows) for z in views]


@torch.no_grad()
def shuffled_forward(
    network: Callable[[Tensor], Tensor], x: Tensor, generator: torch.Generator
) -> Tensor:
    """`network(x)` with the samples of all processes shuffled for the pass (MoCo's shuffled BN).

    Batch norm then normalises keys and queries by different samples and cannot give them away.
    `generator` must be in the same state on every process.
    """
    if world_size() == 1:
        return network(x)
    rows = count_rows(len(x), x.device)
    everything = all_gather(x, rows)
    order = torch.randperm(len(everything), generator=generator).to(x.device)
    shuffled = all_gather(network(everything[order[rows.own]]), rows)
    return shuffled[order.argsort()[rows.own]]
