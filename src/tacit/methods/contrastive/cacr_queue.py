"""CACR with a momentum encoder and a queue of negatives."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import cacr_queue_loss
from tacit.methods._shared import gather_each, shuffled_forward
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import EMA, FeatureQueue, SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig


class CACRQueue(Method):
    """CACR in MoCo's form: keys of a moving-average network attract, a queue of old keys repels.

    L = mean over views of alpha mean_i sum_{y != x} w+ c(q_xi, k_yi) - beta mean_i sum_j w- c_ij;
    c_ij runs over the queue and the other queries of the view. The last view's keys are queued.

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
    n_views = 5

    class Config(Method.Config):
        t_pos: float = Field(1.0, ge=0, description="t+, inverse temperature of the positives")
        t_neg: float = Field(2.0, ge=0, description="t-, inverse temperature of the negatives")
        alpha: float = Field(1.0, ge=0, description="scale of the attraction")
        beta: float = Field(1.0, ge=0, description="scale of the repulsion")
        intra_batch: bool = Field(True, description="other queries of the view are negatives too")
        queue_size: int = Field(65536, ge=1, description="past keys")
        ema: float = Field(0.999, ge=0, le=1, description="rate of the momentum encoder, constant")
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, bn=False)
        online = nn.Sequential(encoder, self.projector)
        self.target = EMA(online, base=config.ema, schedule="constant")
        self.queue = FeatureQueue(config.queue_size, dims[-1])
        self.random = SharedGenerator()
        self._keys: list[Tensor] = []

    def project(self, x: Tensor) -> Tensor:
        return F.normalize(self.projector(self.encoder(x)), dim=1)

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        queries = gather_each(self.project(view) for view in batch.views)
        keys = gather_each(self._key(view) for view in batch.views)
        self._keys.append(keys[-1])
        out = cacr_queue_loss(
            queries,
            keys,
            self.queue.columns,
            t_pos=c.t_pos,
            t_neg=c.t_neg,
            alpha=c.alpha,
            beta=c.beta,
            intra_batch=c.intra_batch,
            return_weights=False,
        )
        return Losses(out.loss, {"attraction": out.attraction, "repulsion": out.repulsion})

    def _key(self, x: Tensor) -> Tensor:
        return F.normalize(shuffled_forward(self.target, x, self.random.next()), dim=1)

    def after_step(self) -> None:
        for keys in self._keys:
            self.queue.push(keys)
        self._keys.clear()
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="cacr-queue",
            views="moco",
            n_views=5,
            optimizer=OptimizerConfig(name="sgd", lr=0.03, weight_decay=1e-4),
            schedule=ScheduleConfig(warmup=0.0),
        )
