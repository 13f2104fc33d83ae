"""SimSiam."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import as_global_mean
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import simsiam_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.recipe import OptimizerConfig, Recipe


class SimSiam(Method):
    """Predicts the embedding of one view from the other; the stop-gradient prevents collapse.

    L = -cos(p1, sg z2)/2 - cos(p2, sg z1)/2. The predictor's learning rate is not decayed.

    References
    ----------
    Chen and He, 2021, eq. 1-4.
    """

    paper = Paper(
        "Exploring Simple Siamese Representation Learning",
        "Chen, He",
        2021,
        "https://arxiv.org/abs/2011.10566",
    )

    class Config(Method.Config):
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(2048, ge=1, description="output width of the projector")
        pred_hidden_dim: int = Field(512, ge=1, description="width of the predictor's bottleneck")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        hidden, out = config.proj_hidden_dim, config.proj_output_dim
        self.projector = MLPHead(
            (encoder.dim, hidden, hidden, out), last_bn=True, last_affine=False
        )
        self.predictor = MLPHead((out, config.pred_hidden_dim, out))

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        z1, z2 = (self.project(view) for view in two_views(self, batch))
        loss = simsiam_loss(self.predictor(z1), self.predictor(z2), z1, z2)
        return Losses(as_global_mean(loss, len(batch)))

    def constant_lr_parameters(self) -> list[nn.Parameter]:
        return list(self.predictor.parameters())

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="simsiam",
            views="moco",
            n_views=2,
            optimizer=OptimizerConfig(name="sgd", lr=0.5, weight_decay=1e-5),
        )
