"""SimCLR."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import multi_positive_nt_xent_loss, nt_xent_loss
from tacit.methods._shared import gather_each
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe


class SimCLR(Method):
    """Each view must find the other view of its sample among all views of the batch.

    L = mean over the 2N anchors of -s(u, u+)/tau + log sum_{v != u} exp(s(u, v)/tau), s the
    cosine of projector outputs. With more than two views every other view is a positive.

    References
    ----------
    Chen et al., 2020, eq. 1.
    """

    paper = Paper(
        "A Simple Framework for Contrastive Learning of Visual Representations",
        "Chen, Kornblith, Norouzi, Hinton",
        2020,
        "https://arxiv.org/abs/2002.05709",
    )

    class Config(Method.Config):
        temperature: float = Field(0.2, gt=0, description="tau; 0.1 to 0.5 in the paper")
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(256, ge=1, description="output width of the projector")
        last_bn: bool = Field(False, description="batch norm on the projector's output (official)")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, last_bn=config.last_bn)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        z = cat_views(self.project, batch.views)
        tau = self.config.temperature
        if len(z) == 2:
            return Losses(nt_xent_loss(z[0], z[1], temperature=tau, gather=True))
        return Losses(multi_positive_nt_xent_loss(gather_each(z), temperature=tau))

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="simclr",
            views="simclr",
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.4, weight_decay=1e-4),
        )
