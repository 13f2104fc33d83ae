"""ST-MAE: masked spatio-temporal autoencoding of dynamic functional connectivity."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.fmri import DynamicFCEncoder
from tacit.errors import ConfigError
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.methods.generative._masked_autoencoder import STMaskedAutoencoder, Windows
from tacit.parts import SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig
from tacit.views.fmri_masks import draw_triples, non_overlapping_gap


class STMAE(Method):
    """Mask nodes and links of the graphs of a scan's windows; reconstruct them in space and time.

    L = L_spatial + lambda_t L_temporal, each L_x + lambda_a L_a. L_x is the squared error of the
    masked regions' connection profiles, L_a the balanced cross-entropy of masked links. Spatial:
    from the rest of the same window. Temporal: window t from two windows before and after it that
    share no point with it.

    **Reconstructed**: the paper has no public code, and only its abstract and introduction were at
    hand. The two losses and their decoders are from memory of it; profiles as targets, hidden
    columns, mask ratios, gaps and the optimiser are our specification. Window graphs are those of
    STAGIN, whose code is public; mean aggregation and the region embedding of the default encoder
    are ours.

    References
    ----------
    Choi, Keum, Yun, Kim, Lee, 2023.
    """

    paper = Paper(
        "A Generative Self-Supervised Framework using Functional Connectivity in fMRI Data",
        "Choi, Keum, Yun, Kim, Lee",
        2023,
        "https://arxiv.org/abs/2312.01994",
    )
    modalities: ClassVar[tuple[str, ...]] = ("fmri",)
    n_views: ClassVar[int] = 1
    in_pieces: ClassVar[bool] = False

    class Config(Method.Config):
        """Options of ST-MAE; the defaults are our specification."""

        node_ratio: float = Field(0.5, gt=0, le=1, description="share of masked regions")
        edge_ratio: float = Field(0.3, ge=0, lt=1, description="chance that a pair is masked")
        edge_weight: float = Field(0.1, ge=0, description="lambda_a, weight of the links")
        temporal_weight: float = Field(1.0, ge=0, description="lambda_t; 0: spatial only")
        min_gap: int | None = Field(
            None, ge=1, description="windows between t and its neighbours; null: no shared point"
        )
        node_loss: Literal["mse", "sce"] = Field("mse", description="error of the profiles")
        sce_alpha: float = Field(2.0, ge=1, description="exponent of the scaled cosine error")
        windows: int = Field(8, ge=1, description="windows drawn from a recording at every step")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        if not isinstance(encoder, DynamicFCEncoder):
            raise ConfigError(
                "st-mae needs an encoder of dynamic connectivity graphs, not "
                f"{type(encoder).__name__}; use the encoder 'gin' of fmri data."
            )
        gap = config.min_gap or non_overlapping_gap(encoder.window, encoder.stride)
        self.autoencoder = STMaskedAutoencoder(
            encoder.gin,
            config.node_ratio,
            config.edge_ratio,
            config.edge_weight,
            config.temporal_weight,
            gap,
            node_loss=config.node_loss,
            sce_alpha=config.sce_alpha,
        )
        self.draws = SharedGenerator()

    def training_loss(self, batch: Batch) -> Losses:
        x: Tensor = batch.views[0]
        encoder: DynamicFCEncoder = self.encoder  # type: ignore[assignment]
        encoder.check_series(x)
        ts, generator = x.transpose(1, 2), self.draws.next(apart=True)
        starts = encoder.starts(ts.shape[1])
        shape, auto = (len(ts), self.config.windows), self.autoencoder
        positions: tuple[Tensor, ...]
        if auto.temporal_weight > 0:
            positions = draw_triples(len(starts), shape, auto.gap, generator)
        else:
            positions = (torch.randint(len(starts), shape, generator=generator),)
        # only the windows that were drawn are ever computed
        first = starts[torch.cat(positions, 1)].to(x.device)
        fields = (*encoder.graphs(ts, first), first + encoder.window)
        drawn = [Windows(*part) for part in zip(*(f.chunk(len(positions), 1) for f in fields))]
        before, centre, after = drawn if len(drawn) == 3 else drawn * 3
        parts = auto.reconstruct(before, centre, after, series=ts, generator=generator)
        return Losses(parts.pop("loss"), parts)

    @classmethod
    def default_recipe(cls, modality: str = "fmri") -> Recipe:
        return Recipe(
            method="st-mae",
            modality="fmri",
            encoder="gin",
            views="fmri",
            n_views=1,
            batch_size=None,
            optimizer=OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=0.0),
            schedule=ScheduleConfig(name="cosine", warmup=0.0),
        )
