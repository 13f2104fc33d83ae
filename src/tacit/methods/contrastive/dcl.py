"""DCL: decoupled contrastive learning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import dcl_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


class DCL(Method):
    """SimCLR without the positive in the denominator, which keeps the gradient alive in small
    batches.

    l_i = -s(u_i, u_i+)/tau + log sum over the 2(N-1) views of other samples of exp(s(u_i, v)/tau),
    mean over the 2N anchors.

    References
    ----------
    Yeh et al., 2022, eq. 5-6.
    """

    paper = Paper(
        "Decoupled Contrastive Learning",
        "Yeh, Hong, Hsu, Liu, Chen, LeCun",
        2022,
        "https://arxiv.org/abs/2110.06848",
    )

    class Config(Method.Config):
        temperature: float = Field(0.1, gt=0, description="tau")
        negatives: Literal["joint", "product"] = Field(
            "joint",
            description="product: a sum a view, as lightly before June 2025",
        )
        proj_hidden_dim: int = Field(512, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")
        last_bn: bool = Field(False, description="batch norm (no affine) on the projector's output")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, last_bn=config.last_bn, last_affine=False)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z1, z2 = cat_views(self.project, two_views(self, batch))
        return Losses(
            dcl_loss(z1, z2, temperature=c.temperature, negatives=c.negatives, gather=True)
        )

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="dcl",
            views="dcl",
            n_views=2,
            optimizer=OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=1e-6),
            schedule=ScheduleConfig(name="constant", warmup=0.0),
        )
