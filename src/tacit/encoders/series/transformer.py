"""A transformer over patches of a series."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.blocks import Block, init_transformer
from tacit.encoders.series.base import SeriesEncoder
from tacit.errors import ConfigError


def sincos_positions(count: int, dim: int) -> Float[Tensor, "count dim"]:
    """Sine and cosine positions, PE[p, 2i] = sin(p / 10000^(2i/d)), PE[p, 2i+1] the cosine.

    >>> sincos_positions(2, 4)[0]
    tensor([0., 1., 0., 1.])
    """
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class SeriesTransformer(SeriesEncoder):
    """Pre-norm transformer over non-overlapping patches of all channels; the mean of its tokens.

    A series that is not a whole number of patches is padded with zeros at the end. Positions are
    sines and cosines, so any length can be read.

    Parameters
    ----------
    in_channels : channels of the series.
    patch : time steps in a token.
    dim, depth, heads : width, blocks and attention heads; dim is even.
    drop_path : rate at which whole residual branches are dropped in training.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017; Nie et al., "A Time Series is Worth 64
    Words", ICLR 2023 (patches; theirs keeps channels apart).

    Examples
    --------
    >>> SeriesTransformer(3, patch=8, depth=1).features(torch.zeros(2, 3, 50)).patches.shape
    torch.Size([2, 7, 128])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        patch: int = 8,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if min(in_channels, patch, dim, depth, heads) < 1 or dim % 2:
            raise ConfigError(
                f"a SeriesTransformer needs positive sizes and an even dim, got channels "
                f"{in_channels}, patch {patch}, dim {dim}, depth {depth}, heads {heads}"
            )
        self.in_channels, self.dim, self.patch = in_channels, dim, patch
        self.embed = nn.Conv1d(in_channels, dim, patch, patch)
        self.blocks = nn.Sequential(*(Block(dim, heads, drop_path=drop_path) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_transformer)

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        self.check_series(x)
        tokens = self.embed(F.pad(x, (0, -x.shape[-1] % self.patch))).transpose(1, 2)
        tokens = tokens + sincos_positions(tokens.shape[1], self.dim).to(tokens)
        tokens = self.norm(self.blocks(tokens))
        return Features(tokens.mean(1), tokens, (tokens.shape[1],))
