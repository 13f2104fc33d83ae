"""What the in-batch and the momentum forms of CACR share: output, checks, costs of positives."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ._views import MultiViews, other_views, stack_views, view_similarities
from .tiled import MEMORY_LIMIT


class CACROutput(NamedTuple):
    """Terms of a CACR loss; the weights are detached, for inspection.

    ``w_pos`` (V, N, V - 1): the weight of the other views, in order, for every query.
    ``w_neg`` (pairs, N, negatives); ``None`` where not asked for.
    """

    loss: Float[Tensor, ""]
    attraction: Float[Tensor, ""]
    repulsion: Float[Tensor, ""]
    w_pos: Float[Tensor, "views batch positives"] | None = None
    w_neg: Float[Tensor, "pairs batch negatives"] | None = None


def check_not_negative(**values: float) -> None:
    """Raise ``ValueError`` unless every value is finite and at least zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number >= 0, got {value}")


def wants_weights(return_weights: bool | None, elements: int, itemsize: int) -> bool:
    """Whether to return weights: as asked, else where they fit the default memory limit."""
    if return_weights is None:
        return elements * itemsize <= MEMORY_LIMIT
    return return_weights


def checked_views(views: MultiViews, assume_normalized: bool, minimum: int = 2) -> Tensor:
    z = stack_views(views, minimum=minimum)
    if not bool(torch.isfinite(z.detach()).all()):
        raise ValueError("views: NaN or infinity in the embeddings; check the input and the step")
    if assume_normalized:
        worst = float((z.detach().square().sum(-1) - 1).abs().max())
        if worst > 1e-3:
            raise ValueError(
                f"views: rows are not unit vectors (a squared norm is off by {worst:.3g}); "
                "L2-normalise the embeddings or pass assume_normalized=False"
            )
    return z


def positive_costs(
    queries: Float[Tensor, "views batch dim"], keys: Float[Tensor, "views batch dim"]
) -> Float[Tensor, "views batch other"]:
    """Squared distance of every query to the keys of its instance in the other views."""
    index = other_views(len(queries), queries.device)
    own, other = queries.square().sum(2), keys.square().sum(2)
    squares = own[:, :, None] + other[index].transpose(1, 2)
    same = None if queries is keys else keys
    return (squares - 2 * view_similarities(queries, same)).clamp_min(0)
