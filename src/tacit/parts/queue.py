"""A first-in-first-out queue of unit features: MoCo's negatives, NNCLR's support set."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

# Elements of the similarity matrix that `nearest` holds at once.
_CHUNK = 2**24


class FeatureQueue(nn.Module):
    """The last ``size`` features, as unit rows (size, dim), kept in the state dict.

    A push that crosses the end wraps around, so ``size`` need not be a multiple of the batch.
    A push makes a new buffer: a loss computed before it can still be differentiated. The features
    are kept in float32, or in float64 from the first float64 push on.

    Parameters
    ----------
    size
        Number of features held.
    dim
        Length of a feature.
    init
        ``"random"``: starts full of random unit vectors. ``"empty"``: starts with none.
    generator
        Draws the random vectors.

    Examples
    --------
    >>> import torch
    >>> queue = FeatureQueue(4, 2, init="empty")
    >>> queue.push(torch.tensor([[3.0, 0.0], [0.0, 5.0]]))
    >>> queue.columns
    tensor([[1., 0.],
            [0., 1.]])
    >>> queue.nearest(torch.tensor([[1.0, 0.2]]))
    tensor([[1., 0.]])
    """

    features: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        init: Literal["random", "empty"] = "random",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"size and dim must be at least 1, got {size} and {dim}")
        if init not in ("random", "empty"):
            raise ValueError(f"init must be 'random' or 'empty', got {init!r}")
        start = torch.zeros(size, dim)
        if init == "random":
            start = normalize(torch.randn(size, dim, generator=generator), dim=1)
        self.size, self.dim = size, dim
        self.register_buffer("features", start)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.tensor(size if init == "random" else 0))

    @property
    def rows(self) -> Float[Tensor, "filled dim"]:
        """The features held, one a row."""
        return self.features[: int(self.filled)]

    @property
    def columns(self) -> Float[Tensor, "dim filled"]:
        """The features held, one a column, as the MoCo losses take them."""
        return self.rows.T

    @torch.no_grad()
    def push(self, features: Float[Tensor, "batch dim"]) -> None:
        """Replace the oldest features; rows are normalised and detached.

        In distributed training push the features of all processes (``all_gather``), so that every
        rank holds the same queue. Of a batch larger than the queue the last rows stay.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"expected (batch, {self.dim}), got {tuple(features.shape)}")
        kind = torch.promote_types(features.dtype, self.features.dtype)
        new = normalize(features.detach().to(self.features.device, kind), dim=1)
        skipped = max(len(new) - self.size, 0)
        places = torch.arange(skipped, len(new), device=new.device)
        places = (self.pointer + places) % self.size
        self.features = self.features.to(kind).index_copy(0, places, new[skipped:])
        self.pointer = (self.pointer + len(new)) % self.size
        self.filled = (self.filled + len(new)).clamp(max=self.size)

    @torch.no_grad()
    def nearest(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """For each row of ``x`` the held feature with the largest cosine to it (a unit row).

        Raises
        ------
        ValueError
            If the queue is empty.
        """
        rows = self.rows
        if len(rows) == 0:
            raise ValueError("the queue is empty: push features before asking for neighbours")
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected (batch, {self.dim}), got {tuple(x.shape)}")
        step = max(_CHUNK // len(rows), 1)
        found = [(part @ rows.T).argmax(1) for part in x.detach().to(rows).split(step)]
        return rows[torch.cat(found)].to(x.dtype)
