"""NNCLR: nearest neighbours as positives."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from tacit.distributed import all_gather
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import nnclr_dcl_loss, nnclr_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import FeatureQueue
from tacit.recipe import OptimizerConfig, Recipe


class NNCLR(Method):
    """The positive of a view is the nearest neighbour, in a queue, of the sample's other view.

    L = CE(nn(z1) p2'/tau)/2 + CE(nn(z2) p1'/tau)/2, unit vectors, negatives from the batch; z1 is
    queued after the loss. `loss="dcl"` drops the positive from the denominator.

    References
    ----------
    Dwibedi et al., 2021, eq. 3-4.
    """

    paper = Paper(
        "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual "
        "Representations",
        "Dwibedi, Aytar, Tompson, Sermanet, Zisserman",
        2021,
        "https://arxiv.org/abs/2104.14548",
    )

    class Config(Method.Config):
        loss: Literal["info_nce", "dcl"] = Field("info_nce", description="contrastive loss")
        temperature: float = Field(0.2, gt=0, description="tau; 0.1 on ImageNet")
        queue_size: int = Field(65536, ge=1, description="past projections to choose from")
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(256, ge=1, description="output width of the projector")
        pred_hidden_dim: int = Field(4096, ge=1, description="hidden width of the predictor")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        hidden, out = config.proj_hidden_dim, config.proj_output_dim
        self.projector = MLPHead((encoder.dim, hidden, hidden, out), last_bn=True)
        self.predictor = MLPHead((out, config.pred_hidden_dim, out))
        self.queue = FeatureQueue(config.queue_size, out)
        self._projections: list[Tensor] = []

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        z1, z2 = (self.project(view) for view in two_views(self, batch))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with torch.no_grad():
            nn1, nn2 = self.queue.nearest(z1), self.queue.nearest(z2)
        self._projections.append(z1.detach())
        first, second = self._contrast(nn1, p2), self._contrast(nn2, p1)
        return Losses((first + second) / 2)

    def _contrast(self, neighbours: Tensor, p: Tensor) -> Tensor:
        loss = nnclr_dcl_loss if self.config.loss == "dcl" else nnclr_loss
        return loss(neighbours, p, temperature=self.config.temperature, gather=True)

    def after_step(self) -> None:
        for z in self._projections:
            self.queue.push(all_gather(z))
        self._projections.clear()

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="nnclr",
            views="simclr",
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.4, weight_decay=1e-5),
        )
