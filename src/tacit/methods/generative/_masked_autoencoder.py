"""The masked autoencoder of dynamic connectivity, on correlation matrices and graphs."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tacit.distributed import as_global_mean
from tacit.encoders.fmri.gin import GINEncoder
from tacit.encoders.heads import MLPHead
from tacit.errors import ConfigError
from tacit.losses.fmri import balanced_edge_bce, edge_logits, masked_profile_loss
from tacit.views.fmri_masks import FCMasks, check_ratios, draw_triples, mask_nodes_edges


class Windows(NamedTuple):
    """Windows of recordings.

    fc, adj : (B, K, N, N) correlations and graphs.
    ends : (B, K) the point after each window's last, where the encoder reads the series.
    """

    fc: Tensor
    adj: Tensor
    ends: Tensor | None = None

    def take(self, position: Tensor) -> Windows:
        """The windows at `position` (B, K) of every recording."""
        rows = torch.arange(len(self.fc), device=self.fc.device)[:, None]
        position = position.to(self.fc.device)
        ends = None if self.ends is None else self.ends.expand(len(self.fc), -1)[rows, position]
        return Windows(self.fc[rows, position], self.adj[rows, position], ends)


class Reconstruction(NamedTuple):
    """Profiles (B, K, N, N) and link scores (B, K, N, N) of windows."""

    profiles: Tensor
    logits: Tensor


class STMaskedAutoencoder(nn.Module):
    """Reconstruct masked parts of connectivity graphs, in space and in time.

    Spatial: a window's masked node profiles and links from the rest of that window. Temporal: those
    of window t from two others, t_a < t < t_b, each masked itself; codes of the two are joined
    node by node. Each side has decoders of its own: an MLP for profiles, and a linear map whose
    inner products are link scores.

    L = L_spatial + temporal_weight L_temporal, each L_x + edge_weight L_a; see
    `masked_profile_loss` and `balanced_edge_bce`.

    Parameters
    ----------
    encoder : graph layers; this is what pre-training is for.
    node_ratio, edge_ratio : of `mask_nodes_edges`; with edge_ratio 0 there is no L_a.
    edge_weight : lambda_a.
    temporal_weight : lambda_t; 0 leaves the temporal side out.
    min_gap : g; gaps t - t_a and t_b - t are uniform in [g, 2g] windows. None is 1, which is right
        only for windows that do not overlap: sliding windows need `non_overlapping_gap(window,
        stride)`, because between overlapping neighbours the task is trivial.
    node_loss, sce_alpha : of `masked_profile_loss`.

    Notes
    -----
    The paper's full text and code were not available: losses and decoders are reconstructed from
    memory of it, and masking, targets and gaps are our specification.

    The targets are correlation profiles, so the encoder should read profiles too. An encoder with
    input "onehot_gru" is taken with a warning: its GRU has read the series of masked regions and,
    for t_b, of window t.

    References
    ----------
    Choi, Keum, Yun, Kim, Lee, A Generative Self-Supervised Framework using Functional Connectivity
    in fMRI Data, 2023.

    Examples
    --------
    >>> from tacit.views import sliding_fc, sparsify_fc
    >>> fc, _ = sliding_fc(torch.randn(4, 100, 10), window=20, stride=20)
    >>> model = STMaskedAutoencoder(GINEncoder(10, dim=8, layers=2), min_gap=1)
    >>> sorted(model(fc, sparsify_fc(fc)))[:3]
    ['loss', 'spatial', 'spatial_edges']
    """

    def __init__(
        self,
        encoder: GINEncoder,
        node_ratio: float = 0.5,
        edge_ratio: float = 0.3,
        edge_weight: float = 0.1,
        temporal_weight: float = 1.0,
        min_gap: int | None = None,
        *,
        node_loss: Literal["mse", "sce"] = "mse",
        sce_alpha: float = 2.0,
    ) -> None:
        super().__init__()
        check_ratios(node_ratio, edge_ratio)
        if edge_weight < 0 or temporal_weight < 0:
            raise ConfigError(
                "edge_weight and temporal_weight must not be negative, got "
                f"{edge_weight} and {temporal_weight}."
            )
        if min_gap is not None and min_gap < 1:
            raise ConfigError(f"min_gap must be at least 1, got {min_gap}.")
        if encoder.input == "onehot_gru":
            warnings.warn(
                "the GRU of input='onehot_gru' reads the series of hidden regions and windows, so "
                "that reconstruction can copy them; input='profile' hides them",
                RuntimeWarning,
                stacklevel=2,
            )
        d, n = encoder.dim, encoder.n_rois
        self.encoder = encoder
        self.node_ratio, self.edge_ratio = node_ratio, edge_ratio
        self.edge_weight, self.temporal_weight = edge_weight, temporal_weight
        self.gap = 1 if min_gap is None else min_gap
        self.node_loss, self.sce_alpha = node_loss, sce_alpha
        edges, temporal = edge_ratio > 0 and edge_weight > 0, temporal_weight > 0
        self.node_decoder = MLPHead((d, d, n), bn=False)
        self.edge_decoder = nn.Linear(d, d) if edges else None
        self.time_node_decoder = MLPHead((2 * d, d, n), bn=False) if temporal else None
        self.time_edge_decoder = nn.Linear(2 * d, d) if edges and temporal else None

    def draw_masks(self, adj: Tensor, generator: torch.Generator | None = None) -> FCMasks:
        """Fresh masks of every window."""
        return mask_nodes_edges(adj, self.node_ratio, self.edge_ratio, generator)

    def encode(self, windows: Windows, masks: FCMasks, series: Tensor | None = None) -> Tensor:
        """Node codes (B, K, N, d) of masked windows."""
        extra: dict[str, Any] = {}
        if self.encoder.input == "onehot_gru":
            extra = {"series": series, "ends": windows.ends}
        return self.encoder(windows.fc, masks.adj, node_mask=masks.nodes, **extra)

    def spatial(
        self, windows: Windows, masks: FCMasks, series: Tensor | None = None
    ) -> Reconstruction:
        """Windows from their own visible part."""
        h = self.encode(windows, masks, series)
        return _decode(h, self.node_decoder, self.edge_decoder)

    def temporal(
        self,
        before: Windows,
        after: Windows,
        masks: tuple[FCMasks, FCMasks],
        series: Tensor | None = None,
    ) -> Reconstruction:
        """The windows between `before` and `after`, of which nothing is read."""
        if self.time_node_decoder is None:
            raise ConfigError("with temporal_weight=0 there is no temporal decoder.")
        ends = None
        if before.ends is not None and after.ends is not None:
            ends = torch.cat([before.ends, after.ends], 1)
        both = Windows(
            torch.cat([before.fc, after.fc], 1), torch.cat([before.adj, after.adj], 1), ends
        )
        joined = FCMasks(*(torch.cat(pair, 1) for pair in zip(*masks, strict=True)))
        h = torch.cat(self.encode(both, joined, series).chunk(2, dim=1), -1)
        return _decode(h, self.time_node_decoder, self.time_edge_decoder)

    def reconstruct(
        self,
        before: Windows,
        centre: Windows,
        after: Windows,
        *,
        series: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The losses of chosen windows; keys as in `forward`."""
        masks = self.draw_masks(centre.adj, generator)
        parts = self._terms("spatial", self.spatial(centre, masks, series), centre, masks)
        loss, zero = parts["spatial"], parts["spatial"].new_zeros(())
        parts["temporal"] = zero
        if self.temporal_weight > 0:
            sides = (self.draw_masks(before.adj, generator), self.draw_masks(after.adj, generator))
            fresh = self.draw_masks(centre.adj, generator)
            made = self.temporal(before, after, sides, series)
            parts |= self._terms("temporal", made, centre, fresh)
            loss = loss + self.temporal_weight * parts["temporal"]
        return {"loss": loss, **parts}

    def _terms(
        self, name: str, made: Reconstruction, true: Windows, masks: FCMasks
    ) -> dict[str, Tensor]:
        nodes = masked_profile_loss(
            made.profiles, true.fc, masks.nodes, kind=self.node_loss, alpha=self.sce_alpha
        )
        nodes = as_global_mean(nodes, masks.nodes.sum())
        terms = {name: nodes, f"{name}_nodes": nodes.detach()}
        if self.edge_decoder is not None:
            edges = balanced_edge_bce(made.logits, true.adj, masks.edges, gather=True)
            terms = {
                name: nodes + self.edge_weight * edges,
                f"{name}_nodes": nodes.detach(),
                f"{name}_edges": edges.detach(),
            }
        return terms

    def forward(
        self,
        fc: Tensor,
        adj: Tensor,
        *,
        windows: int = 1,
        series: Tensor | None = None,
        ends: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Draw windows of every recording, mask, reconstruct.

        Parameters
        ----------
        fc, adj : all windows (B, T, N, N) of the recordings, in order.
        windows : K, how many t are drawn from each recording.
        series, ends : recordings (B, Tmax, N) and window ends (T,), for "onehot_gru".
        generator : of windows and masks.

        Returns
        -------
        loss (what is minimised), spatial, temporal (0 where its weight is 0), and the parts of the
        two, `..._nodes` and `..._edges`, without gradient.

        Raises
        ------
        DataError : too few windows for the gap.
        """
        if fc.ndim != 4 or adj.shape != fc.shape:
            raise ValueError(
                f"expected fc and adj (B, T, N, N), got {tuple(fc.shape)} and {tuple(adj.shape)}"
            )
        every = Windows(fc, adj.bool(), None if ends is None else ends.to(fc.device))
        shape = (len(fc), windows)
        if self.temporal_weight > 0:
            triple = draw_triples(fc.shape[1], shape, self.gap, generator)
        else:
            centre = torch.randint(fc.shape[1], shape, generator=generator)
            triple = (centre, centre, centre)
        before, centre_windows, after = (every.take(position) for position in triple)
        return self.reconstruct(before, centre_windows, after, series=series, generator=generator)


def _decode(h: Tensor, nodes: nn.Module, edges: nn.Module | None) -> Reconstruction:
    profiles = nodes(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:-1], -1)
    logits = profiles.new_zeros(profiles.shape) if edges is None else edge_logits(edges(h))
    return Reconstruction(profiles, logits)
