"""W-MSE: whitening."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import wmse_loss
from tacit.methods._shared import gather_each
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe


class WMSE(Method):
    """Whitens sub-batches of each view, then asks for equal directions.

    v = L^-1 (z - mean), Cov = L L'; loss = mean 2 - 2 cos(v1, v2) over pairs of views, random
    partitions into sub-batches, the same for all views.

    References
    ----------
    Ermolov et al., 2021, eq. 4-5.
    """

    paper = Paper(
        "Whitening for Self-Supervised Representation Learning",
        "Ermolov, Siarohin, Sangineto, Sebe",
        2021,
        "https://arxiv.org/abs/2007.06346",
    )

    class Config(Method.Config):
        w_size: int = Field(128, ge=2, description="rows whitened together; >= 2 output widths")
        w_iter: int = Field(1, ge=1, description="random partitions a step")
        eps: float = Field(0.0, ge=0, le=1, description="shrinkage of the covariance to identity")
        proj_hidden_dim: int = Field(1024, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(64, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims)
        self.random = SharedGenerator()

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z = gather_each(self.project(view) for view in batch.views)
        loss = wmse_loss(
            *z, w_size=c.w_size, w_iter=c.w_iter, eps=c.eps, generator=self.random.next()
        )
        return Losses(loss)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="wmse",
            views="simclr",
            n_views=2,
            optimizer=OptimizerConfig(name="adam", lr=2e-3, weight_decay=1e-6),
        )
