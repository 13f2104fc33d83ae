"""VICReg: variance, invariance and covariance regularisation."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import vicreg_loss
from tacit.methods._shared import two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.recipe import OptimizerConfig, Recipe


class VICReg(Method):
    """Equal embeddings of the views, a standard deviation of at least 1, no covariance.

    L = s mean (z1 - z2)^2 + v/2 sum over views mean_k relu(1 - std_k)
    + c sum over views sum_{k != l} Cov_kl^2 / d.

    References
    ----------
    Bardes, Ponce, LeCun, 2022, eq. 1-6.
    """

    paper = Paper(
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
        "Bardes, Ponce, LeCun",
        2022,
        "https://arxiv.org/abs/2105.04906",
    )

    class Config(Method.Config):
        sim_weight: float = Field(25.0, ge=0, description="s, weight of the invariance")
        var_weight: float = Field(25.0, ge=0, description="v, weight of the variance")
        cov_weight: float = Field(1.0, ge=0, description="c, weight of the covariance")
        proj_hidden_dim: int = Field(2048, ge=1, description="projector width; 8192 on ImageNet")
        proj_output_dim: int = Field(2048, ge=1, description="output width; 8192 on ImageNet")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        hidden, out = config.proj_hidden_dim, config.proj_output_dim
        self.projector = MLPHead((encoder.dim, hidden, hidden, out))

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        z1, z2 = (self.project(view) for view in two_views(self, batch))
        terms = vicreg_loss(
            z1,
            z2,
            sim_weight=c.sim_weight,
            var_weight=c.var_weight,
            cov_weight=c.cov_weight,
            gather=True,
            return_parts=True,
        )
        assert not isinstance(terms, Tensor)
        return Losses(
            terms.loss,
            {
                "invariance": terms.invariance,
                "variance": terms.variance,
                "covariance": terms.covariance,
            },
        )

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="vicreg",
            views="barlow",
            views_options={"area": [0.2, 1.0]},
            n_views=2,
            # The official LARS: embeddings are not normalised, and the larger steps of the clipped
            # form (solo-learn) diverge after a short warm-up.
            optimizer=OptimizerConfig(
                name="lars", lr=0.3, weight_decay=1e-4, trust=0.001, clip_lars=False
            ),
        )
