"""Several views of one batch as one tensor, with the checks that all multi-view losses share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import torch
from jaxtyping import Float
from torch import Tensor

from tacit.distributed import all_gather

# One (views, batch, dim) tensor or a sequence of (batch, dim) tensors; `stack_views` checks which.
MultiViews = Float[Tensor, "..."] | Sequence[Float[Tensor, "..."]]


def stack_views(
    views: MultiViews, *, minimum_views: int = 2, minimum: int = 2
) -> Float[Tensor, "views batch dim"]:
    """The views as one view-major tensor.

    Raises
    ------
    ValueError
        On fewer than ``minimum_views`` views or ``minimum`` instances, and if the views are not
        matrices of one shape.
    """
    if isinstance(views, Tensor):
        if views.ndim != 3:
            raise ValueError(
                f"views: expected a (views, batch, dim) tensor, got shape {tuple(views.shape)}; "
                "stack the views on a new first dimension or pass a list of (batch, dim) tensors"
            )
    else:
        shapes = [tuple(view.shape) for view in views]
        if any(len(shape) != 2 for shape in shapes) or len(set(shapes)) > 1:
            raise ValueError(
                "views: expected (batch, dim) matrices of one shape, row i of each from the same "
                f"instance; got {', '.join(map(str, shapes))}"
            )
        if not shapes:
            raise ValueError(f"views: got no view, need at least {minimum_views}")
        views = torch.stack(tuple(views))
    if views.shape[0] < minimum_views:
        raise ValueError(
            f"views: need at least {minimum_views} views of every instance, got {views.shape[0]}"
        )
    if views.shape[1] < minimum:
        raise ValueError(
            f"views: need at least {minimum} instances in the batch for negatives, got "
            f"{views.shape[1]}; use a larger batch (and drop_last=True)"
        )
    return views


def gather_views(views: Float[Tensor, "views batch dim"]) -> Float[Tensor, "views global dim"]:
    """The views of all processes, still view-major; differentiable, identity on one process."""
    return all_gather(views.transpose(0, 1).contiguous()).transpose(0, 1)


def other_views(count: int, device: torch.device) -> Tensor:
    """Row v holds the indices of all views but v: (count, count - 1).

    >>> other_views(3, torch.device("cpu")).tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    index = torch.arange(count, device=device).expand(count, count)
    return index[~torch.eye(count, dtype=torch.bool, device=device)].view(count, count - 1)


def view_similarities(
    queries: Float[Tensor, "views batch dim"], keys: Float[Tensor, "views batch dim"] | None = None
) -> Float[Tensor, "views batch other"]:
    """Inner product of every view of an instance with the keys (itself) of its other views."""
    q = queries.unbind()
    # Sums of products: a batched product of matrices as small as views x views is slower.
    if keys is None:
        half = {(v, w): (q[v] * q[w]).sum(1) for v, w in combinations(range(len(q)), 2)}
        products = half | {(w, v): product for (v, w), product in half.items()}
    else:
        k = keys.unbind()
        products = {(v, w): (q[v] * k[w]).sum(1) for v, w in permutations(range(len(q)), 2)}
    rows = [[products[v, w] for w in range(len(q)) if w != v] for v in range(len(q))]
    return torch.stack([torch.stack(row, 1) for row in rows])
