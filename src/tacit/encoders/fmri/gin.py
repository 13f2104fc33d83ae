"""Graph isomorphism network on functional connectivity: dense graphs of the same regions."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tacit.errors import ConfigError

Aggregation = Literal["sum", "mean"]
NodeInput = Literal["profile", "onehot_gru"]


class NodeNorm(nn.BatchNorm1d):
    """Batch norm of (..., dim) over all nodes of all graphs."""

    def forward(self, x: Float[Tensor, "*nodes dim"]) -> Float[Tensor, "*nodes dim"]:
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class GINLayer(nn.Module):
    """h <- MLP(A h + eps h), MLP = Linear-BN-ReLU-Linear-BN-ReLU, eps learned from 0.

    A has self-loops, so that eps is added to 1. `aggregation="mean"` divides A h by the degree
    (not in STAGIN): windows with more links then do not have larger codes.

    >>> GINLayer(4, 8)(torch.randn(2, 5, 4), torch.eye(5).expand(2, 5, 5)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, in_dim: int, dim: int, *, aggregation: Aggregation = "sum") -> None:
        super().__init__()
        if aggregation not in ("sum", "mean"):
            raise ConfigError(f"aggregation must be 'sum' or 'mean', not {aggregation!r}.")
        self.aggregation = aggregation
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, dim),
            NodeNorm(dim),
            nn.ReLU(),
            nn.Linear(dim, dim),
            NodeNorm(dim),
            nn.ReLU(),
        )

    def forward(
        self, h: Float[Tensor, "*graphs rois in_dim"], adj: Tensor
    ) -> Float[Tensor, "*graphs rois dim"]:
        a = adj.to(h.dtype)
        gathered = a @ h
        if self.aggregation == "mean":
            gathered = gathered / a.sum(-1, keepdim=True).clamp_min(1)
        return self.mlp(gathered + self.eps * h)


class GINEncoder(nn.Module):
    """Node codes of the graphs of windows.

    Parameters
    ----------
    n_rois : N, regions.
    dim : d, width of the codes.
    layers : L.
    input : "profile": node i at window t enters as row i of the correlation matrix R(t);
        "onehot_gru" (STAGIN): as [one-hot(i) || eta(t)], eta(t) the output of a GRU that has read
        the series up to the window's end.
    aggregation : "sum" (STAGIN) or "mean" over neighbours.
    region_embedding : add a learned vector of the region to the input layer's output ("profile"
        only: the one-hot of "onehot_gru" is one).

    Notes
    -----
    A masked node's input vector is replaced by a learned token that starts at 0. With profiles,
    the masked columns of all other rows become 0 too: they hold the same numbers. The profile
    input and its masking are our specification; graph layers and "onehot_gru" are STAGIN's.

    References
    ----------
    Kim, Ye, Kim, Learning Dynamic Graph Representation of Brain Connectome with Spatio-Temporal
    Attention, 2021 (STAGIN), and its official code.

    Examples
    --------
    >>> from tacit.views import sliding_fc, sparsify_fc
    >>> fc, _ = sliding_fc(torch.randn(2, 60, 10), window=20, stride=10)
    >>> GINEncoder(10, dim=16, layers=2)(fc, sparsify_fc(fc)).shape
    torch.Size([2, 4, 10, 16])
    """

    def __init__(
        self,
        n_rois: int,
        dim: int = 128,
        layers: int = 4,
        input: NodeInput = "profile",
        *,
        aggregation: Aggregation = "sum",
        region_embedding: bool = False,
    ) -> None:
        super().__init__()
        if n_rois < 2 or dim < 1 or layers < 1:
            raise ConfigError(
                "n_rois must be at least 2, dim and layers at least 1, got "
                f"{n_rois}, {dim}, {layers}."
            )
        if input not in ("profile", "onehot_gru"):
            raise ConfigError(f"input must be 'profile' or 'onehot_gru', not {input!r}.")
        if region_embedding and input == "onehot_gru":
            raise ConfigError("the one-hot of 'onehot_gru' is a region embedding already.")
        self.n_rois, self.dim, self.input = n_rois, dim, input
        width = n_rois if input == "profile" else n_rois + dim
        self.gru = nn.GRU(n_rois, dim, batch_first=True) if input == "onehot_gru" else None
        self.project = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.regions: nn.Parameter | None = None
        if region_embedding:
            self.regions = nn.Parameter(torch.randn(n_rois, dim) * dim**-0.5)
        self.layers = nn.ModuleList(
            GINLayer(dim, dim, aggregation=aggregation) for _ in range(layers)
        )

    def forward(
        self,
        fc: Float[Tensor, "*graphs rois rois"],
        adj: Bool[Tensor, "*graphs rois rois"] | Float[Tensor, "*graphs rois rois"],
        *,
        node_mask: Bool[Tensor, "*graphs rois"] | None = None,
        series: Float[Tensor, "batch time rois"] | None = None,
        ends: Int[Tensor, " windows"] | Int[Tensor, "batch windows"] | None = None,
    ) -> Float[Tensor, "*graphs rois dim"]:
        """Codes of the last layer; see `layer_codes`."""
        return self.layer_codes(fc, adj, node_mask=node_mask, series=series, ends=ends)[-1]

    def layer_codes(
        self,
        fc: Tensor,
        adj: Tensor,
        *,
        node_mask: Tensor | None = None,
        series: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> list[Tensor]:
        """Codes (..., N, d) after every layer.

        Parameters
        ----------
        fc : correlation matrices of the windows, (B, T, N, N) or any leading axes.
        adj : their graphs, 1 or True where there is a link.
        node_mask : True where a node's input is hidden.
        series, ends : for "onehot_gru": the recordings (B, Tmax, N) and the point after each
            window's last; fc is then (B, T, N, N).

        Raises
        ------
        ValueError : another number of regions, or series missing or not wanted.
        """
        if fc.shape[-2:] != (self.n_rois, self.n_rois) or adj.shape != fc.shape:
            raise ValueError(
                f"expected fc and adj (..., {self.n_rois}, {self.n_rois}), got {tuple(fc.shape)} "
                f"and {tuple(adj.shape)}"
            )
        if self.input == "profile":
            h = self._profiles(fc, node_mask)
        else:
            h = self._timestamps(fc, node_mask, series, ends)
        codes = []
        for layer in self.layers:
            h = layer(h, adj)
            codes.append(h)
        return codes

    def _profiles(self, fc: Tensor, node_mask: Tensor | None) -> Tensor:
        x = fc
        if node_mask is not None:
            x = x.masked_fill(node_mask[..., None, :], 0.0)
            x = torch.where(node_mask[..., None], self.mask_token, x)
        h = self.project(x)
        return h if self.regions is None else h + self.regions

    def _timestamps(
        self, fc: Tensor, node_mask: Tensor | None, series: Tensor | None, ends: Tensor | None
    ) -> Tensor:
        """Linear([one-hot || eta]) without the one-hot: its part of the weight is the output."""
        if series is None or ends is None:
            raise ValueError("input='onehot_gru' reads the series too: give `series` and `ends`")
        if fc.ndim != 4 or len(series) != len(fc) or series.shape[-1] != self.n_rois:
            raise ValueError(
                f"expected fc (B, T, N, N) and series (B, time, N), got {tuple(fc.shape)} and "
                f"{tuple(series.shape)}"
            )
        assert self.gru is not None
        last = (ends.to(series.device).expand(len(series), -1) - 1)[..., None]
        outputs = self.gru(series[:, : int(last.max()) + 1])[0]
        eta = outputs.gather(1, last.expand(-1, -1, self.dim))
        weight = self.project.weight
        h = weight[:, : self.n_rois].T + F.linear(eta, weight[:, self.n_rois :])[:, :, None]
        h = h + self.project.bias
        if node_mask is None:
            return h
        return torch.where(node_mask[..., None], self.project(self.mask_token), h)
