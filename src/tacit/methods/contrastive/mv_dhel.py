"""MV-DHEL: alignment across views, uniformity inside each view."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import mv_dhel_loss
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe


class MVDHEL(Method):
    """Multi-view contrastive loss whose denominator is a product over views of per-view energies.

    L = mean_i [ -log sum_{l < l'} e(u_il, u_il') + sum_l log sum_{j != i} e(u_il, u_jl) ],
    e(a, b) = exp(<a, b>/tau), for V >= 2 views. The cost is linear in V.

    References
    ----------
    Koromilas et al., 2025.
    """

    paper = Paper(
        "A Principled Framework for Multi-View Contrastive Learning",
        "Koromilas, Georgiou, Bouritsas, Giannakopoulos, Nicolaou, Panagakis",
        2025,
        "https://arxiv.org/abs/2507.06979",
    )
    n_views = 4

    class Config(Method.Config):
        temperature: float = Field(0.5, gt=0, description="tau; 0.1 on ImageNet-1K")
        variant: Literal["code", "paper"] = Field(
            "code", description="paper: ordered pairs in the numerator, and j = i in the energies"
        )
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
        z = cat_views(self.project, batch.views)
        return Losses(mv_dhel_loss(z, temperature=c.temperature, variant=c.variant, gather=True))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="mv-dhel",
            views="mv-dhel",
            n_views=4,
            optimizer=OptimizerConfig(name="sgd", lr=1.0, weight_decay=1e-6),
        )
