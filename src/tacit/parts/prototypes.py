"""Prototypes on the unit sphere, as in SwAV."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize


class Prototypes(nn.Module):
    """Trainable unit vectors; the output is the cosine of every row with every prototype.

    Parameters
    ----------
    dim
        Length of the features.
    n
        Number of prototypes.
    generator
        Draws the start.

    Call :meth:`freeze` between ``backward`` and the optimiser step while prototypes must not move,
    and :meth:`renormalise` after every optimiser step.

    References
    ----------
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020.

    Examples
    --------
    >>> import torch
    >>> prototypes = Prototypes(8, 3)
    >>> prototypes(torch.randn(5, 8)).shape
    torch.Size([5, 3])
    """

    def __init__(self, dim: int, n: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if dim < 1 or n < 1:
            raise ValueError(f"dim and n must be at least 1, got {dim} and {n}")
        self.weight = nn.Parameter(normalize(torch.randn(n, dim, generator=generator), dim=1))

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n"]:
        """Scores of the rows, which are normalised inside."""
        return nn.functional.linear(normalize(z, dim=1), self.weight)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Put every prototype back on the unit sphere."""
        self.weight.copy_(normalize(self.weight, dim=1))

    def freeze(self) -> None:
        """Drop the gradient of this step, so that the optimiser leaves the prototypes alone."""
        self.weight.grad = None
