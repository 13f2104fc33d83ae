"""DCLW: decoupled contrastive learning with weighted positives."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import dclw_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


class DCLW(Method):
    """DCL whose positive term counts dissimilar pairs more.

    l_i = -w_i s(u_i, u_i+)/tau + log of the sum over negatives, with the negative von Mises-Fisher
    weight w_i = 2 - exp(s_i/sigma) / mean_j exp(s_j/sigma), s_i the cosine of the pair.

    References
    ----------
    Yeh et al., 2022, section 3.3.
    """

    paper = Paper(
        "Decoupled Contrastive Learning",
        "Yeh, Hong, Hsu, Liu, Chen, LeCun",
        2022,
        "https://arxiv.org/abs/2110.06848",
    )

    class Config(Method.Config):
        temperature: float = Field(0.1, gt=0, description="tau")
        sigma: float = Field(0.5, gt=0, description="spread of the weights; large: plain DCL")
        detach_weights: bool = Field(True, description="no gradient through the weights")
        proj_hidden_dim: int = Field(512, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        z1, z2 = cat_views(self.project, two_views(self, batch))
        loss = dclw_loss(
            z1,
            z2,
            temperature=self.config.temperature,
            sigma=self.config.sigma,
            detach_weights=self.config.detach_weights,
            gather=True,
        )
        return Losses(loss)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="dclw",
            views="dcl",
            n_views=2,
            optimizer=OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=1e-6),
            schedule=ScheduleConfig(name="constant", warmup=0.0),
        )
