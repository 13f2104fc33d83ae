"""The supervised network on dynamic connectivity that pre-trained graph layers go into."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.fmri.gin import GINEncoder
from tacit.encoders.fmri.readout import ReadoutName, build_readout
from tacit.encoders.fmri.time import TimeTransformer
from tacit.errors import ConfigError, DataError


class FCOutput(NamedTuple):
    """Everything of one pass.

    logits : (B, classes).
    codes : (B, L, d) subject code of every layer.
    nodes : L node codes (B, T, N, d), for `orthogonality_penalty`.
    """

    logits: Float[Tensor, "batch classes"]
    codes: Float[Tensor, "batch layers dim"]
    nodes: list[Tensor]


class DynamicFCClassifier(nn.Module):
    """STAGIN: graph layers, and for each layer a read-out, attention over time and a linear head.

    The subject code of a layer is the sum of its window codes after attention; logits are the sum
    over layers of dropout(Linear(code)).

    Parameters
    ----------
    encoder : graph layers, new or pre-trained; trained with the rest.
    readout : "sero", "garo" or "mean".
    classes : number of outputs (1 for regression).
    heads : of the attention over time.
    dropout : of each layer's logits.
    time_pool : "sum" or "mean" over windows, or "param": the attended code of a learned token.

    References
    ----------
    Kim, Ye, Kim, 2021 (STAGIN), and its official code.

    Examples
    --------
    >>> from tacit.views import sliding_fc, sparsify_fc
    >>> fc, _ = sliding_fc(torch.randn(2, 60, 10), window=20, stride=10)
    >>> model = DynamicFCClassifier(GINEncoder(10, dim=16, layers=2), readout="sero", classes=3)
    >>> model(fc, sparsify_fc(fc)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        encoder: GINEncoder,
        readout: ReadoutName = "sero",
        classes: int = 2,
        *,
        heads: int = 1,
        dropout: float = 0.5,
        time_pool: Literal["sum", "mean", "param"] = "sum",
    ) -> None:
        super().__init__()
        if classes < 1:
            raise ConfigError(f"classes must be at least 1, got {classes}.")
        if time_pool not in ("sum", "mean", "param"):
            raise ConfigError(f"time_pool must be 'sum', 'mean' or 'param', not {time_pool!r}.")
        dim, depth = encoder.dim, len(encoder.layers)
        self.encoder, self.time_pool = encoder, time_pool
        self.readouts = nn.ModuleList(
            build_readout(readout, dim, encoder.n_rois) for _ in range(depth)
        )
        self.times = nn.ModuleList(TimeTransformer(dim, heads=heads) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Linear(dim, classes) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)
        self.tokens = nn.Parameter(torch.randn(depth, 1, dim)) if time_pool == "param" else None

    def outputs(
        self,
        fc: Float[Tensor, "batch windows rois rois"],
        adj: Tensor,
        *,
        series: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> FCOutput:
        """Logits, subject codes and node codes.

        Parameters
        ----------
        fc, adj : correlations and graphs of the windows of every recording.
        series, ends : of the encoder's "onehot_gru" input.
        """
        if fc.ndim != 4 or fc.shape[1] == 0:
            raise DataError(
                f"expected the windows of recordings (B, T, N, N) with T at least 1, got "
                f"{tuple(fc.shape)}."
            )
        nodes = self.encoder.layer_codes(fc, adj, series=series, ends=ends)
        codes = [self._subject(layer, h) for layer, h in enumerate(nodes)]
        logits = torch.stack(
            [self.dropout(head(code)) for head, code in zip(self.heads, codes, strict=True)]
        ).sum(0)
        return FCOutput(logits, torch.stack(codes, 1), nodes)

    def _subject(self, layer: int, h: Tensor) -> Tensor:
        z = self.readouts[layer](h)
        if self.tokens is not None:
            z = torch.cat([z, self.tokens[layer].expand(len(z), 1, -1)], 1)
        z = self.times[layer](z)
        if self.time_pool == "param":
            return z[:, -1]
        return z.sum(1) if self.time_pool == "sum" else z.mean(1)

    def forward(
        self,
        fc: Float[Tensor, "batch windows rois rois"],
        adj: Tensor,
        *,
        series: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> Float[Tensor, "batch classes"]:
        return self.outputs(fc, adj, series=series, ends=ends).logits
