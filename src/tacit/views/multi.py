"""Several independent views from one transform of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MultiViewTransform(nn.Module):
    """Apply one random transform of a batch several times: a list of `n_views` views.

    For own transforms in an own training loop; the presets of this room make their views
    themselves.

    Parameters
    ----------
    base : transform of a raw batch, `base(batch)`, or `base(batch, generator)` where a generator is
        given.
    n_views : number of views, each with its own random draws.

    >>> import torch
    >>> noise = lambda x, g: x + torch.randn(x.shape, generator=g)
    >>> views = MultiViewTransform(noise, 3)(torch.zeros(2, 4), torch.Generator().manual_seed(0))
    >>> len(views), views[0].shape, bool((views[0] == views[1]).any())
    (3, torch.Size([2, 4]), False)
    """

    def __init__(self, base: Callable[..., Any], n_views: int) -> None:
        super().__init__()
        if n_views < 1:
            raise ValueError(f"n_views must be at least 1, got {n_views}")
        self.base, self.n_views = base, n_views

    def forward(self, batch: Any, generator: torch.Generator | None = None) -> list[Any]:
        extra = () if generator is None else (generator,)
        return [self.base(batch, *extra) for _ in range(self.n_views)]
