"""MoCo v3."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import moco_v3_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import EMA
from tacit.recipe import OptimizerConfig, Recipe


class MoCoV3(Method):
    """A predictor finds the moving-average network's key among the keys of the batch; no queue.

    L = 2 tau CE(q1 k2'/tau) + 2 tau CE(q2 k1'/tau), q = predictor(projector(h)), the target of row
    i is column i; keys of all processes, without gradient.

    References
    ----------
    Chen, Xie, He, 2021, algorithm 1.
    """

    paper = Paper(
        "An Empirical Study of Training Self-Supervised Vision Transformers",
        "Chen, Xie, He",
        2021,
        "https://arxiv.org/abs/2104.02057",
    )

    class Config(Method.Config):
        temperature: float = Field(0.2, gt=0, description="tau; 1.0 for ResNet-50 on ImageNet")
        ema_base: float = Field(0.99, ge=0, le=1, description="first EMA rate")
        ema_final: float = Field(1.0, ge=0, le=1, description="last EMA rate, along a cosine")
        proj_layers: int = Field(2, ge=1, description="linear layers of the projector; ViT 3")
        proj_hidden_dim: int = Field(4096, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(256, ge=1, description="output width of the projector")
        pred_hidden_dim: int = Field(4096, ge=1, description="hidden width of the predictor")
        pred_last_bn: bool = Field(False, description="batch norm on the prediction; ViT yes")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        hidden, out = config.proj_hidden_dim, config.proj_output_dim
        dims = (encoder.dim, *[hidden] * (config.proj_layers - 1), out)
        self.projector = MLPHead(dims, last_bn=True, last_affine=False, bias=False)
        self.predictor = MLPHead(
            (out, config.pred_hidden_dim, out),
            last_bn=config.pred_last_bn,
            last_affine=False,
            bias=False,
        )
        online = nn.Sequential(encoder, self.projector)
        self.target = EMA(online, base=config.ema_base, final=config.ema_final)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        x1, x2 = two_views(self, batch)
        q1, q2 = self.predictor(self.project(x1)), self.predictor(self.project(x2))
        with torch.no_grad():
            k1, k2 = self.target(x1), self.target(x2)
        tau = self.config.temperature
        return Losses(moco_v3_loss(q1, q2, k1, k2, temperature=tau, gather=True))

    def after_step(self) -> None:
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="moco-v3",
            views="byol",
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.3, weight_decay=1e-6),
        )
