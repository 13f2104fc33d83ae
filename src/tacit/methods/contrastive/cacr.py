"""CACR: contrastive attraction and contrastive repulsion."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import cacr_loss
from tacit.methods._shared import gather_each
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


class CACR(Method):
    """Pulls the far positives of a query hardest and pushes its near negatives hardest.

    L = alpha mean_i sum_k w+ c(z_i, z_ik) - beta mean_i sum_{j != i} w- c(z_i, z_j),
    c = ||a - b||^2 of unit vectors, w+ = softmax_k(t+ c), w- = softmax_j(-t- c); every view is a
    query, its negatives come from the other views.

    References
    ----------
    Zheng et al., 2023, eq. 7-8.
    """

    paper = Paper(
        "Contrastive Attraction and Contrastive Repulsion for Representation Learning",
        "Zheng, Chen, Yao, Yang, Li, Zhang, Zhang, Tsang, Zhou, Zhou",
        2023,
        "https://arxiv.org/abs/2105.03746",
    )
    n_views = 5

    class Config(Method.Config):
        t_pos: float = Field(1.0, ge=0, description="t+, inverse temperature of the positives")
        t_neg: float = Field(
            0.9, ge=0, description="t-, inverse temperature of the negatives; CIFAR-100, STL-10 2.0"
        )
        alpha: float = Field(1.0, ge=0, description="scale of the attraction")
        beta: float = Field(1.0, ge=0, description="scale of the repulsion")
        choice: Literal["full", "none", "without_w1", "without_w2"] = Field(
            "full", description="ablation: uniform weights of positives (w1), negatives (w2)"
        )
        cost: Literal["sqeuclidean", "rbf"] = Field("sqeuclidean", description="repulsion's cost")
        symmetric: bool = Field(False, description="both views of a pair are queries in repulsion")
        detach_weights: bool = Field(False, description="no gradient through the weights")
        tau_plus: float | None = Field(
            None, ge=0, lt=1, description="debiasing: probability that a negative is a positive"
        )
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims)

    def project(self, x: Tensor) -> Tensor:
        return F.normalize(self.projector(self.encoder(x)), dim=1)

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        out = cacr_loss(
            gather_each(cat_views(self.project, batch.views)),
            t_pos=c.t_pos,
            t_neg=c.t_neg,
            alpha=c.alpha,
            beta=c.beta,
            choice=c.choice,
            cost=c.cost,
            symmetric=c.symmetric,
            detach_weights=c.detach_weights,
            tau_plus=c.tau_plus,
            return_weights=False,
        )
        return Losses(out.loss, {"attraction": out.attraction, "repulsion": out.repulsion})

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="cacr",
            views="cacr",
            n_views=5,
            batch_size=128,
            optimizer=OptimizerConfig(name="sgd", lr=0.12, weight_decay=1e-4),
            schedule=ScheduleConfig(name="step", warmup=0.0, milestones=(0.775, 0.85, 0.925)),
        )
