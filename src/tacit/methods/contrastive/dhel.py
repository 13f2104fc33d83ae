"""DHEL: decoupled hyperspherical energy loss."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import dhel_loss
from tacit.methods._shared import gather_each, two_views
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe


class DHEL(Method):
    """Two-view contrastive loss whose negatives come from inside each view.

    L = mean_i -log [ e(u_i, v_i) / (E_i(u) E_i(v)) ], E_i(u) = sum_{j != i} e(u_i, u_j),
    e(a, b) = exp(<a, b>/tau).

    References
    ----------
    Koromilas et al., 2024, section 4.
    """

    paper = Paper(
        "Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning",
        "Koromilas, Bouritsas, Giannakopoulos, Nicolaou, Panagakis",
        2024,
        "https://arxiv.org/abs/2405.18045",
    )

    class Config(Method.Config):
        temperature: float = Field(0.3, gt=0, description="tau")
        include_augs: bool = Field(True, description="energy of both views, not of the first only")
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
        z1, z2 = gather_each(cat_views(self.project, two_views(self, batch)))
        return Losses(dhel_loss(z1, z2, temperature=c.temperature, include_augs=c.include_augs))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="dhel",
            views="mv-dhel",
            n_views=2,
            optimizer=OptimizerConfig(name="sgd", lr=1.0, weight_decay=1e-6),
        )
