"""DirectCopy: BYOL whose predictor is the correlation matrix itself."""

from __future__ import annotations

from pydantic import Field

from tacit.methods.base import Method, Paper
from tacit.methods.distillation.directpred import DirectPred
from tacit.parts import ClosedFormPredictor
from tacit.recipe import Recipe


class DirectCopy(DirectPred):
    """DirectPred without the eigen-decomposition: W = F / ||F|| + eps I, ||F|| the spectral norm.

    F <- rho F + (1 - rho) mean f f' of both views; L = -2 cos(W f1, k2) - 2 cos(W f2, k1).

    References
    ----------
    Wang, Chen, Du, Tian, 2021, section 4.
    """

    paper = Paper(
        "Towards Demystifying Representation Learning with Non-contrastive Self-supervision",
        "Wang, Chen, Du, Tian",
        2021,
        "https://arxiv.org/abs/2110.04947",
    )

    class Config(Method.Config):
        rho: float = Field(0.3, ge=0, le=1, description="memory of the correlation F")
        eps: float = Field(0.3, ge=0, description="added to every eigenvalue of W")
        normalize: bool = Field(True, description="divide F by its spectral norm (released: no)")
        zero_mean: bool = Field(False, description="covariance instead of correlation")
        freq: int = Field(1, ge=0, description="steps between settings of W, trained in between")
        ema: float = Field(0.996, ge=0, le=1, description="m of the target network, constant")
        copy_init: bool = Field(True, description="target starts as a copy (official: at random)")
        l2_normalize: bool = Field(True, description="no: squared distance of raw vectors")
        proj_hidden_dim: int = Field(512, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def _predictor(self) -> ClosedFormPredictor:
        c = self.config
        return ClosedFormPredictor(
            c.proj_output_dim,
            "directcopy",
            rho=c.rho,
            eps=c.eps,
            normalize=c.normalize,
            zero_mean=c.zero_mean,
            freq=c.freq,
        )

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return super().default_recipe(modality).changed({"method": "directcopy"})
