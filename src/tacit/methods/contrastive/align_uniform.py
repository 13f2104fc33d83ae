"""Alignment and uniformity on the hypersphere."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import align_loss, uniform_loss
from tacit.methods._shared import gather_each, two_views
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


class AlignUniform(Method):
    """Pulls the two views of a sample together and spreads each view over the unit sphere.

    L = w_a mean ||u1 - u2||^alpha + w_u/2 sum over views of log mean_{i<j} exp(-t ||u_i - u_j||^2).

    References
    ----------
    Wang and Isola, 2020, section 4.
    """

    paper = Paper(
        "Understanding Contrastive Representation Learning through Alignment and Uniformity on "
        "the Hypersphere",
        "Wang, Isola",
        2020,
        "https://arxiv.org/abs/2005.10242",
    )

    class Config(Method.Config):
        align_weight: float = Field(1.0, ge=0, description="w_a")
        uniform_weight: float = Field(1.0, ge=0, description="w_u")
        alpha: float = Field(2.0, gt=0, description="power of the distance in the alignment")
        t: float = Field(2.0, gt=0, description="sharpness of the uniformity kernel")
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z1, z2 = gather_each(cat_views(self.project, two_views(self, batch)))
        align = align_loss(z1, z2, alpha=c.alpha)
        uniform = (uniform_loss(z1, t=c.t) + uniform_loss(z2, t=c.t)) / 2
        total = c.align_weight * align + c.uniform_weight * uniform
        return Losses(total, {"align": align, "uniform": uniform})

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="align-uniform",
            views="cacr",
            views_options={"area": [0.08, 1.0]},
            n_views=2,
            optimizer=OptimizerConfig(name="sgd", lr=0.12, weight_decay=1e-4),
            schedule=ScheduleConfig(name="step", warmup=0.0, milestones=(0.775, 0.85, 0.925)),
        )
