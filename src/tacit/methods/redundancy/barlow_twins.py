"""Barlow Twins."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import barlow_twins_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.recipe import OptimizerConfig, Recipe


class BarlowTwins(Method):
    """Makes the cross-correlation matrix of the two views' features the identity.

    L = scale [ sum_k (C_kk - 1)^2 + lambda sum_{k != l} C_kl^2 ], C = zhat1' zhat2 / N with
    features standardised over the batch.

    References
    ----------
    Zbontar et al., 2021, eq. 1-2.
    """

    paper = Paper(
        "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
        "Zbontar, Jing, Misra, LeCun, Deny",
        2021,
        "https://arxiv.org/abs/2103.03230",
    )

    class Config(Method.Config):
        lambd: float = Field(0.0051, ge=0, description="lambda, weight of the off-diagonal part")
        scale: float = Field(0.1, gt=0, description="factor of the loss; 1 in the official code")
        proj_hidden_dim: int = Field(2048, ge=1, description="projector width; 8192 on ImageNet")
        proj_output_dim: int = Field(2048, ge=1, description="output width; 8192 on ImageNet")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        hidden, out = config.proj_hidden_dim, config.proj_output_dim
        self.projector = MLPHead((encoder.dim, hidden, hidden, out), bias=False)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z1, z2 = (self.project(view) for view in two_views(self, batch))
        return Losses(barlow_twins_loss(z1, z2, lambd=c.lambd, scale=c.scale, gather=True))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="barlow-twins",
            views="barlow",
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.3, weight_decay=1e-4),
        )
