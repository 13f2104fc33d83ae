"""CACR with a momentum encoder and a predictor."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import all_gather, count_rows, world_size
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.errors import ConfigError
from tacit.losses import cacr_moco_v3_loss
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import EMA
from tacit.recipe import OptimizerConfig, Recipe


class CACRMoCoV3(Method):
    """CACR in MoCo v3's form: the predictions of all other crops are attracted to each key view.

    L_i = 2T sum_v mean_n p_vn CE(q_v k_i'/T)_n, p = softmax_v(||q_v - k_i||^2 / T) over the other
    crops v; mean over the key views i. With two crops it is half of MoCo v3's loss.

    References
    ----------
    Zheng et al., 2023.
    """

    paper = Paper(
        "Contrastive Attraction and Contrastive Repulsion for Representation Learning",
        "Zheng, Chen, Yao, Yang, Li, Zhang, Zhang, Tsang, Zhou, Zhou",
        2023,
        "https://arxiv.org/abs/2105.03746",
    )

    class Config(Method.Config):
        temperature: float = Field(1.0, gt=0, description="T; 0.2 for ViT-B")
        form: Literal["rbf", "euclidean"] = Field("rbf", description="cost of a pair")
        n_global: int = Field(2, ge=1, description="first views that give keys (global crops)")
        full_mode: bool = Field(False, description="every view gives a key, small crops too")
        ema_base: float = Field(0.99, ge=0, le=1, description="first EMA rate; ViT 0.996")
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
        c = self.config
        views = batch.views
        n_keys = len(views) if c.full_mode else c.n_global
        if not 2 <= len(views) >= n_keys:
            raise ConfigError(
                f"CACRMoCoV3 needs at least 2 views and n_global = {c.n_global} of them, got "
                f"{len(views)}; raise n_views."
            )
        queries = [self.predictor(self.project(view)) for view in views]
        with torch.no_grad():
            keys = [self.target(view) for view in views[:n_keys]]
        rows = count_rows(len(batch), queries[0].device)
        terms = [
            cacr_moco_v3_loss(
                queries[:i] + queries[i + 1 :],
                key,
                c.temperature,
                c.form,
                all_keys=all_gather(key, rows),
                first=rows.first,
            )
            for i, key in enumerate(keys)
        ]
        # The Euclidean form is a sum over the batch; processes average their gradients.
        scale = world_size() if c.form == "euclidean" else rows.weight
        return Losses(scale * torch.stack(terms).mean())

    def after_step(self) -> None:
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="cacr-moco-v3",
            views="byol",
            views_options={"area": [0.2, 1.0]},
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.3, weight_decay=1.5e-6),
        )
