"""BYOL: bootstrap your own latent."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import as_global_mean
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import byol_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import (
    EMA,
    ClosedFormPredictor,
    PredictorMode,
    diagonalise_,
    symmetrise_,
    symmetrise_pair_,
)
from tacit.recipe import OptimizerConfig, Recipe


class BYOL(Method):
    """Predicts a moving-average network's embedding of the other view; no negatives.

    L = [2 - 2 cos(p1, k2)] + [2 - 2 cos(p2, k1)], p of the online network, k of the target
    (no gradient); target <- m target + (1 - m) online after every step, m from base to 1.

    References
    ----------
    Grill et al., 2020, eq. 2.
    """

    paper = Paper(
        "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
        "Grill, Strub, Altché, Tallec, Richemond et al.",
        2020,
        "https://arxiv.org/abs/2006.07733",
    )

    class Config(Method.Config):
        predictor: Literal[
            "mlp",
            "linear",
            "symmetric",
            "symmetric_norm",
            "symmetric_pair",
            "diagonal",
            "none",
            "directpred",
            "directcopy",
            "solve",
            "minimal_space",
            "half_rank",
        ] = Field(
            "mlp",
            description="all but mlp are linear without bias; symmetric_pair: two layers with a "
            "ReLU, tied; none collapses; from directpred on set from statistics, not trained",
        )
        rho: float = Field(0.3, ge=0, le=1, description="memory of a set predictor's statistics")
        eps: float | None = Field(
            None, ge=0, description="floor (ridge) of a set predictor; null: the kind's own"
        )
        freq: int = Field(1, ge=0, description="steps between settings, trained in between")
        ema_base: float = Field(0.99, ge=0, le=1, description="first m; 0.996 on ImageNet")
        ema_final: float = Field(1.0, ge=0, le=1, description="last m, reached along a cosine")
        proj_hidden_dim: int = Field(4096, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(256, ge=1, description="output width of the projector")
        pred_hidden_dim: int = Field(4096, ge=1, description="width of the MLP predictor")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        out = config.proj_output_dim
        self.projector = MLPHead((encoder.dim, config.proj_hidden_dim, out), bias=True)
        self.predictor: Any
        if config.predictor == "mlp":
            self.predictor = MLPHead((out, config.pred_hidden_dim, out), bias=True)
        elif config.predictor == "symmetric_pair":
            dims = (out, config.pred_hidden_dim, out)
            self.predictor = MLPHead(dims, bn=False, bias=False)
        elif config.predictor == "none":
            self.predictor = nn.Identity()
        elif config.predictor in get_args(PredictorMode):
            self.predictor = ClosedFormPredictor(
                out, config.predictor, config.rho, config.eps, config.freq
            )
        else:
            self.predictor = nn.Linear(out, out, bias=False)
        online = nn.Sequential(encoder, self.projector)
        self.target = EMA(online, base=config.ema_base, final=config.ema_final)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        x1, x2 = two_views(self, batch)
        z1, z2 = self.project(x1), self.project(x2)
        with torch.no_grad():
            k1, k2 = self.target(x1), self.target(x2)
        if self.training and isinstance(self.predictor, ClosedFormPredictor):
            self.predictor.observe(z1, z2, targets=(k2, k1))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return Losses(as_global_mean(byol_loss(p1, p2, k1, k2), len(x1)))

    def after_step(self) -> None:
        kind = self.config.predictor
        if kind in ("symmetric", "symmetric_norm"):
            symmetrise_(self.predictor.weight, normalize=kind == "symmetric_norm")
        elif kind == "symmetric_pair":
            symmetrise_pair_(self.predictor[0].weight, self.predictor[-1].weight)
        elif kind == "diagonal":
            diagonalise_(self.predictor.weight)
        elif isinstance(self.predictor, ClosedFormPredictor):
            self.predictor.refresh(self.progress.step)
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="byol",
            views="byol",
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=1.0, weight_decay=1e-5),
        )
