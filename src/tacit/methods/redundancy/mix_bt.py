"""Mixed Barlow Twins."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.distributed import all_gather, count_rows
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import barlow_twins_loss, mixed_barlow_reg
from tacit.methods._shared import gather_each, two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig
from tacit.views.mixing import mixup_views


class MixedBarlowTwins(Method):
    """Barlow Twins, and the embedding of a mixed input must correlate as the mixture would.

    x_m = lam x1 + (1 - lam) x2[pi]; L = L_BT + lambda_reg lambda_bt (||C^MA - G^MA||^2 +
    ||C^MB - G^MB||^2), C the correlation of z_m with a view, G the mixture of correlations.

    References
    ----------
    Bandara, De Melo, Patel, 2023, eq. 3-9.
    """

    paper = Paper(
        "Guarding Barlow Twins Against Overfitting with Mixed Samples",
        "Bandara, De Melo, Patel",
        2023,
        "https://arxiv.org/abs/2312.02151",
    )

    class Config(Method.Config):
        lambda_bt: float = Field(1 / 128, ge=0, description="off-diagonal weight; 0.0051 ImageNet")
        lambda_reg: float = Field(
            4.0, ge=0, description="weight of the mixed term; ImageNet 0.5 (its 1.0 is halved)"
        )
        reg_warmup_steps: int = Field(0, ge=0, description="steps of linear rise of lambda_reg")
        alpha: float = Field(1.0, gt=0, description="lam ~ Beta(alpha, alpha)")
        l2_normalize: bool = Field(True, description="unit embeddings first; no on ImageNet")
        variant: Literal["paper", "imagenet_released"] = Field(
            "paper", description="target of view B; the released ImageNet script has z2 for z1"
        )
        eps: float = Field(0.0, ge=0, description="added to the variance of every feature")
        proj_hidden_dim: int = Field(512, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(1024, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, bias=(False, True))
        self.random = SharedGenerator()

    def project(self, x: Tensor) -> Tensor:
        z = self.projector(self.encoder(x))
        return F.normalize(z, dim=1) if self.config.l2_normalize else z

    def reg_weight(self) -> float:
        """lambda_reg, after its warm-up."""
        warmup = self.config.reg_warmup_steps
        rise = min(self.progress.step / warmup, 1.0) if warmup else 1.0
        return self.config.lambda_reg * rise

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        x1, x2 = two_views(self, batch)
        # Mixed over all processes, so that a run on several equals the run on one.
        rows = count_rows(len(x1), x1.device)
        xm, perm, lam = mixup_views(
            all_gather(x1, rows), all_gather(x2, rows), alpha=c.alpha, generator=self.random.next()
        )
        z1, z2, zm = gather_each(self.project(x) for x in (x1, x2, xm[rows.own]))
        twins = barlow_twins_loss(z1, z2, lambd=c.lambda_bt, standardize="unbiased", eps=c.eps)
        mixed = mixed_barlow_reg(z1, z2, zm, perm, lam, variant=c.variant, eps=c.eps)
        total = twins + self.reg_weight() * c.lambda_bt * mixed
        return Losses(total, {"barlow_twins": twins, "mixed": mixed})

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="mix-bt",
            views="mix-bt",
            n_views=2,
            optimizer=OptimizerConfig(name="adam", lr=0.01, weight_decay=1e-6),
            schedule=ScheduleConfig(warmup=0.005, final=0.001),
        )
