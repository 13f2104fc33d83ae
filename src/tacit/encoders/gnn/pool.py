"""From node vectors to one vector a graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tacit.errors import ConfigError, did_you_mean

Pooling = Literal["mean", "max", "sum"]


def global_pool(
    h: Tensor, batch: Tensor, kind: Pooling = "mean", num_graphs: int | None = None
) -> Tensor:
    """Mean, maximum or sum of the node vectors of every graph.

    Parameters
    ----------
    h : (N, D) node vectors.
    batch : (N,) graph of every node.
    kind : "mean", "max" or "sum".
    num_graphs : rows of the result; the largest of `batch` plus one by default.

    Returns
    -------
    (num_graphs, D); zeros for a graph without nodes.

    Raises
    ------
    ConfigError : another kind.

    >>> global_pool(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])).tolist()
    [[2.0], [5.0]]
    """
    if kind not in ("mean", "max", "sum"):
        raise ConfigError(
            f"pooling must be mean, max or sum, not '{kind}'."
            f"{did_you_mean(str(kind), ('mean', 'max', 'sum'))}"
        )
    n = num_graphs if num_graphs is not None else int(batch.max()) + 1
    out = h.new_zeros(n, h.shape[1])
    if kind == "max":
        index = batch[:, None].expand_as(h)
        return out.scatter_reduce(0, index, h, "amax", include_self=False)
    out = out.index_add(0, batch, h)
    if kind == "mean":
        out = out / torch.bincount(batch, minlength=n).clamp(min=1)[:, None].to(h.dtype)
    return out
