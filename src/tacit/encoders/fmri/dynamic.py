"""Region series of a recording to one vector, through its windows' graphs."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tacit.encoders.base import Encoder, Features
from tacit.encoders.fmri.gin import Aggregation, GINEncoder, NodeInput
from tacit.errors import ConfigError
from tacit.views.fmri import sparsify_fc, window_fc, window_starts

NUMBERS_AT_ONCE = 2**25  # entries of correlation matrices in memory outside training


class DynamicFCEncoder(Encoder):
    """Sliding windows, their sparse connectivity graphs, graph layers, mean over windows.

    Parameters
    ----------
    n_rois : N, regions.
    tr : seconds between two points; None: unknown, and `window` and `stride` are points.
    window, stride : Gamma and S in seconds, so that recordings of other TR have the same windows.
        STAGIN has 36 s and 2.16 s.
    last : use the last full window too; see `window_starts`.
    keep_percent : share of links that stay, s.
    dim, layers, input, aggregation, region_embedding : of `GINEncoder`.
    pool : "mean" over regions (`dim` numbers), or "regions": the codes of all regions one after
        the other (N `dim` numbers), which keep who is who.

    Notes
    -----
    Outside training, windows are computed and encoded in parts of bounded memory. Patch features
    are the regions' codes.

    Examples
    --------
    >>> encoder = DynamicFCEncoder(n_rois=10, tr=2.0, window=40, stride=20, dim=8, layers=2)
    >>> encoder(torch.randn(3, 10, 60)).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        *,
        n_rois: int,
        tr: float | None = None,
        window: float = 50.0,
        stride: float = 10.0,
        last: bool = False,
        keep_percent: float = 30.0,
        dim: int = 64,
        layers: int = 3,
        input: NodeInput = "profile",
        aggregation: Aggregation = "mean",
        region_embedding: bool = True,
        pool: Literal["mean", "regions"] = "mean",
    ) -> None:
        super().__init__()
        seconds = 1.0 if tr is None else tr
        self.window, self.stride = round(window / seconds), max(1, round(stride / seconds))
        if self.window < 3:
            raise ConfigError(
                f"a window of {window:g} s has {self.window} points at a TR of {seconds:g} s; "
                "a correlation needs at least 3."
            )
        if pool not in ("mean", "regions"):
            raise ConfigError(f"pool must be 'mean' or 'regions', not {pool!r}.")
        self.gin = GINEncoder(
            n_rois,
            dim,
            layers,
            input,
            aggregation=aggregation,
            region_embedding=region_embedding and input == "profile",
        )
        self.last, self.keep_percent = last, keep_percent
        self.pool, self.in_channels = pool, n_rois
        self.dim = dim if pool == "mean" else n_rois * dim

    def starts(self, points: int) -> Tensor:
        """First points of the windows of a recording of `points` points."""
        return window_starts(points, self.window, self.stride, last=self.last)

    def graphs(self, ts: Float[Tensor, "batch time rois"], starts: Tensor) -> tuple[Tensor, Tensor]:
        """Correlations and graphs (B, T, N, N) of the windows at `starts`, without gradient."""
        with torch.no_grad():
            fc = window_fc(ts, starts, self.window)
            return fc, sparsify_fc(fc, self.keep_percent)

    def node_codes(self, x: Float[Tensor, "batch rois time"]) -> Float[Tensor, "batch rois dim"]:
        """Codes of the regions, averaged over windows."""
        self.check_series(x)
        ts = x.transpose(1, 2)
        starts = self.starts(ts.shape[1]).to(x.device)
        at_once = len(starts)
        if not self.training:
            at_once = max(1, NUMBERS_AT_ONCE // (len(x) * self.in_channels**2))
        parts = [self._window_codes(ts, part).sum(1) for part in starts.split(at_once)]
        return torch.stack(parts).sum(0) / len(starts)

    def _window_codes(self, ts: Tensor, starts: Tensor) -> Tensor:
        fc, adj = self.graphs(ts, starts)
        if self.gin.gru is None:
            return self.gin(fc, adj)
        return self.gin(fc, adj, series=ts, ends=starts + self.window)

    def features(self, x: Float[Tensor, "batch rois time"]) -> Features:
        codes = self.node_codes(x)
        pooled = codes.mean(1) if self.pool == "mean" else codes.flatten(1)
        return Features(pooled, codes, (self.in_channels,))

    def check_series(self, x: Tensor) -> None:
        """Refuse what is not a float batch (n, regions, time) of this network's regions."""
        if x.ndim != 3 or x.shape[1] != self.in_channels or not x.is_floating_point():
            raise ValueError(
                f"expected float series (n, {self.in_channels} regions, time), got {x.dtype} of "
                f"shape {tuple(x.shape)}"
            )
