"""KCL: kernel contrastive learning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import kcl_loss
from tacit.methods._shared import gather_each, two_views
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe


class KCL(Method):
    """Kernel similarity of the two views of a sample up, mean kernel similarity inside a view down.

    L = -2 mean_i k(u_i, v_i) + gamma [ mean_{i<j} k(u_i, u_j) + mean_{i<j} k(v_i, v_j) ].

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
        kernel: Literal["gaussian", "log", "imq", "riesz"] = Field("gaussian", description="k")
        t: float = Field(2.0, description="the kernel's parameter (t, c or s)")
        gamma: float = Field(16.0, gt=0, description="weight of the energy")
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
        return Losses(kcl_loss(z1, z2, kernel=c.kernel, t=c.t, gamma=c.gamma))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="kcl",
            views="mv-dhel",
            n_views=2,
            optimizer=OptimizerConfig(name="sgd", lr=1.0, weight_decay=1e-6),
        )
