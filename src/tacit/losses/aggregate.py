"""Two-view losses on more views: over all pairs, or each view against the mean of the others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from ._common import unit_rows
from ._views import MultiViews, stack_views


def pairwise_aggregate(loss_fn: Callable[[Tensor, Tensor], Tensor], views: MultiViews) -> Tensor:
    """Mean of a two-view loss over the V (V - 1) / 2 unordered pairs of views.

    Parameters
    ----------
    loss_fn
        Any loss of two (M, d) views.
    views
        (V, M, d) tensor or a list of V tensors (M, d), passed on as they are.

    Examples
    --------
    >>> import torch
    >>> from tacit.losses import dhel_loss
    >>> pairwise_aggregate(dhel_loss, torch.eye(2).expand(3, 2, 2))
    tensor(-3.3333)
    """
    z = stack_views(views, minimum=1)
    return torch.stack([loss_fn(a, b) for a, b in combinations(z, 2)]).mean()


def average_view_aggregate(
    loss_fn: Callable[[Tensor, Tensor], Tensor], views: MultiViews
) -> Tensor:
    """Mean over views of a two-view loss between a view and the mean of the others.

    The views are normalised; the mean of V - 1 unit vectors is shorter than one and is passed on
    so. The reference NT-Xent of this kind keeps it so (``nt_xent_loss`` with
    ``normalize=False``), its DHEL normalises it again (``dhel_loss``).

    Parameters
    ----------
    loss_fn
        Any loss of two (M, d) views.
    views
        (V, M, d) tensor or a list of V tensors (M, d), of any scale.

    Examples
    --------
    >>> import torch
    >>> from tacit.losses import dhel_loss
    >>> average_view_aggregate(dhel_loss, torch.eye(2).expand(3, 2, 2))
    tensor(-3.3333)
    """
    z = unit_rows(stack_views(views, minimum=1), "views")
    total = z.sum(0)
    others = [(total - view) / (len(z) - 1) for view in z]
    return torch.stack([loss_fn(view, mean) for view, mean in zip(z, others)]).mean()
