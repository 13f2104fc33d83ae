"""DirectPred: BYOL with a predictor that is set, not trained."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import as_global_mean
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import byol_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import EMA, ClosedFormPredictor
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


def reinitialised(module: nn.Module) -> nn.Module:
    """A copy with freshly drawn weights."""
    fresh = copy.deepcopy(module)
    for layer in fresh.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # type: ignore[operator]
    return fresh


class DirectPred(Method):
    """BYOL whose linear predictor comes from the eigenvalues of the embeddings' correlation.

    F <- rho F + (1 - rho) mean f f' of both views; F = U diag(s) U';
    W = U diag(sqrt(s / max s) + eps) U'; L = -2 cos(W f1, k2) - 2 cos(W f2, k1).

    References
    ----------
    Tian, Chen, Ganguli, 2021, eq. 18-19.
    """

    paper = Paper(
        "Understanding self-supervised Learning Dynamics without Contrastive Pairs",
        "Tian, Chen, Ganguli",
        2021,
        "https://arxiv.org/abs/2102.06810",
    )

    class Config(Method.Config):
        rho: float = Field(0.3, ge=0, le=1, description="memory of the correlation F")
        eps: float = Field(0.01, ge=0, description="added to every eigenvalue of W")
        root: float = Field(2.0, gt=0, description="2: square root of F's eigenvalues")
        diagonal: bool = Field(False, description="use only the diagonal of F")
        eps_inside: bool = Field(False, description="add eps under the root")
        shrink: float = Field(0.0, ge=0, lt=1, description="shrinkage of the eigenvalues of W")
        zero_mean: bool = Field(False, description="covariance instead of correlation")
        freq: int = Field(1, ge=0, description="steps between settings of W, trained in between")
        ema: float = Field(0.996, ge=0, le=1, description="m of the target network, constant")
        copy_init: bool = Field(True, description="target starts as a copy (official: at random)")
        l2_normalize: bool = Field(True, description="no: squared distance of raw vectors")
        proj_hidden_dim: int = Field(512, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, hidden_affine=False, bias=True)
        self.predictor = self._predictor()
        online = nn.Sequential(encoder, self.projector)
        start = None if config.copy_init else reinitialised(online)
        self.target = EMA(online, base=config.ema, schedule="constant", target=start)

    def _predictor(self) -> ClosedFormPredictor:
        c = self.config
        return ClosedFormPredictor(
            c.proj_output_dim,
            "directpred",
            rho=c.rho,
            eps=c.eps,
            root=c.root,
            eps_inside=c.eps_inside,
            shrink=c.shrink,
            zero_mean=c.zero_mean,
            diagonal=c.diagonal,
            freq=c.freq,
        )

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        x1, x2 = two_views(self, batch)
        f1, f2 = self.project(x1), self.project(x2)
        if self.training:
            self.predictor.observe(f1.detach(), f2.detach())
        q1, q2 = self.predictor(f1), self.predictor(f2)
        with torch.no_grad():
            k1, k2 = self.target(x1), self.target(x2)
        # The published loss of directions has no constant: from -4 (equal) to 4.
        normalize = self.config.l2_normalize
        loss = byol_loss(q1, q2, k1, k2, normalize=normalize) - (4 if normalize else 0)
        return Losses(as_global_mean(loss, len(x1)))

    def after_step(self) -> None:
        self.predictor.refresh(self.progress.step)
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="directpred",
            views="directpred",
            n_views=2,
            batch_size=128,
            optimizer=OptimizerConfig(name="sgd", lr=0.03, scale_lr=False, weight_decay=4e-4),
            schedule=ScheduleConfig(name="constant", warmup=0.0),
        )
