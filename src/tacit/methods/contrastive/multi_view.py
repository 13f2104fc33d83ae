"""Baselines that make a two-view loss multi-view."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import (
    average_view_aggregate,
    dhel_loss,
    multi_positive_nt_xent_loss,
    nt_xent_loss,
    pairwise_aggregate,
    pvc_loss,
)
from tacit.methods._shared import gather_each
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe


class MultiView(Method):
    """The multi-view baselines that MV-DHEL is compared with, for V >= 2 views.

    pwe: mean of a two-view loss over all pairs of views. avg: the loss between each view and the
    mean of the others. pvc: poly-view contrast, one cross-entropy for each ordered pair of views.
    multi_positive: NT-Xent with V - 1 positives, each with its own logarithm.

    References
    ----------
    Koromilas et al., 2025; Shidani et al., 2024 (pvc).
    """

    paper = Paper(
        "A Principled Framework for Multi-View Contrastive Learning",
        "Koromilas, Georgiou, Bouritsas, Giannakopoulos, Nicolaou, Panagakis",
        2025,
        "https://arxiv.org/abs/2507.06979",
    )
    n_views = 4

    class Config(Method.Config):
        loss: Literal["pwe", "avg", "pvc", "multi_positive"] = Field("pwe", description="baseline")
        pair_loss: Literal["nt_xent", "dhel"] = Field(
            "nt_xent", description="the two-view loss inside pwe and avg"
        )
        pvc_mean: Literal["geometric", "arithmetic"] = Field(
            "geometric", description="how pvc averages over positives"
        )
        temperature: float = Field(0.5, gt=0, description="tau")
        proj_hidden_dim: int | None = Field(None, ge=1, description="null: the encoder's width")
        proj_output_dim: int = Field(128, ge=1, description="width of the projector's output")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim or encoder.dim, config.proj_output_dim)
        self.projector = MLPHead(dims, last_bn=True, last_affine="scale", bias=False)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z = gather_each(cat_views(self.project, batch.views))
        if c.loss == "pvc":
            return Losses(pvc_loss(z, temperature=c.temperature, method=c.pvc_mean))
        if c.loss == "multi_positive":
            return Losses(
                multi_positive_nt_xent_loss(z, positives="outside", temperature=c.temperature)
            )
        # The mean of unit vectors is shorter than one: NT-Xent takes it so, DHEL normalises it.
        nt_xent = partial(nt_xent_loss, normalize=c.loss == "pwe")
        two_view: Any = nt_xent if c.pair_loss == "nt_xent" else dhel_loss
        aggregate = pairwise_aggregate if c.loss == "pwe" else average_view_aggregate
        return Losses(aggregate(partial(two_view, temperature=c.temperature), z))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="multi-view",
            views="mv-dhel",
            n_views=4,
            optimizer=OptimizerConfig(name="sgd", lr=1.0, weight_decay=1e-6),
        )
