"""Attention over the windows of a recording."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from tacit.errors import ConfigError


class TimeTransformer(nn.Module):
    """One transformer block over T window codes, without a skip around the attention.

    x <- LN(dropout(attention(x))); x <- LN(x + dropout(MLP(x))), MLP = Linear-ReLU-dropout-Linear.

    Parameters
    ----------
    dim : width of the codes.
    hidden : width inside the MLP; None: 2 dim.
    heads : of the attention.
    dropout : after attention, inside and after the MLP.

    References
    ----------
    Kim, Ye, Kim, 2021 (STAGIN), official code.

    >>> import torch
    >>> TimeTransformer(8)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, dim: int, hidden: int | None = None, heads: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim {dim} is not a multiple of heads {heads}.")
        hidden = 2 * dim if hidden is None else hidden
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout1, self.dropout2 = nn.Dropout(dropout), nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    def forward(self, x: Float[Tensor, "batch windows dim"]) -> Float[Tensor, "batch windows dim"]:
        attended = self.attention(x, x, x, need_weights=False)[0]
        x = self.norm1(self.dropout1(attended))
        return self.norm2(x + self.dropout2(self.mlp(x)))
