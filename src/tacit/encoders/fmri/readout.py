"""From the codes of a graph's nodes to one code of the graph."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.fmri.gin import NodeNorm
from tacit.errors import ConfigError, did_you_mean


class MeanReadout(nn.Module):
    """z = mean over nodes.

    >>> MeanReadout()(torch.ones(2, 3, 5, 4)).shape
    torch.Size([2, 3, 4])
    """

    def forward(self, h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, "*graphs dim"]:
        return h.mean(-2)


class SERO(nn.Module):
    """Squeeze-excitation read-out: z = mean_i a_i h_i, a = sigmoid(W2 GELU(BN(W1 mean_i h_i))).

    The attention is indexed by region, so the read-out is not invariant to their order.

    Parameters
    ----------
    dim : width of the node codes.
    n_rois : regions.
    dropout : of the attention.
    upscale : hidden width / dim.

    References
    ----------
    Kim, Ye, Kim, 2021 (STAGIN), section 3.3 and official code, which takes the mean over nodes.

    >>> SERO(4, 5)(torch.ones(2, 3, 5, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(self, dim: int, n_rois: int, dropout: float = 0.1, upscale: float = 1.0) -> None:
        super().__init__()
        hidden = round(upscale * dim)
        self.embed = nn.Sequential(nn.Linear(dim, hidden), NodeNorm(hidden), nn.GELU())
        self.attend = nn.Linear(hidden, n_rois)
        self.dropout = nn.Dropout(dropout)

    def attention(self, h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, "*graphs rois"]:
        """Weight of every node, in (0, 1)."""
        return torch.sigmoid(self.attend(self.embed(h.mean(-2))))

    def forward(self, h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, "*graphs dim"]:
        return (h * self.dropout(self.attention(h))[..., None]).mean(-2)


class GARO(nn.Module):
    """Graph attention read-out: z = mean_i a_i h_i, a_i = sigmoid(q . k_i / sqrt(d)).

    q = W_q mean_i h_i, k_i = W_k h_i.

    Parameters
    ----------
    dim : width of the node codes.
    dropout : of the attention.
    upscale : width of query and key / dim.
    scale_weights : divide by sqrt(d) after the sigmoid instead of before it, so that weights stay
        below 1/sqrt(d). The official code divides before.

    References
    ----------
    Kim, Ye, Kim, 2021 (STAGIN), section 3.3 and official code.

    >>> GARO(4)(torch.ones(2, 3, 5, 4)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        dim: int,
        dropout: float = 0.1,
        upscale: float = 1.0,
        *,
        scale_weights: bool = False,
    ) -> None:
        super().__init__()
        hidden = round(upscale * dim)
        self.embed_query = nn.Linear(dim, hidden)
        self.embed_key = nn.Linear(dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.scale_weights = scale_weights

    def attention(self, h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, "*graphs rois"]:
        """Weight of every node, in (0, 1)."""
        query, key = self.embed_query(h.mean(-2)), self.embed_key(h)
        score = (key @ query[..., None])[..., 0]
        root = query.shape[-1] ** 0.5
        return torch.sigmoid(score) / root if self.scale_weights else torch.sigmoid(score / root)

    def forward(self, h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, "*graphs dim"]:
        return (h * self.dropout(self.attention(h))[..., None]).mean(-2)


READOUTS = ("sero", "garo", "mean")
ReadoutName = Literal["sero", "garo", "mean"]


def build_readout(name: str, dim: int, n_rois: int) -> nn.Module:
    """A read-out by name: "sero", "garo" or "mean".

    >>> type(build_readout("mean", 8, 4)).__name__
    'MeanReadout'
    """
    if name not in READOUTS:
        raise ConfigError(
            f"unknown read-out '{name}'.{did_you_mean(name, READOUTS)} Known: "
            f"{', '.join(READOUTS)}."
        )
    if name == "sero":
        return SERO(dim, n_rois)
    return GARO(dim) if name == "garo" else MeanReadout()
