"""MoCo v2 and its symmetric form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import all_gather, as_global_mean
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.losses import moco_dcl_loss, moco_loss
from tacit.methods._shared import shuffled_forward, two_views
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import EMA, FeatureQueue, SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe


class MoCoV2(Method):
    """Finds the moving-average network's key of the other view among a queue of past keys.

    L = -log [ e(q, k) / (e(q, k) + sum_{Q} e(q, k')) ], e(a, b) = exp(cos(a, b)/tau). Keys are
    queued after the loss. `loss="dcl"` drops e(q, k) from the denominator.

    References
    ----------
    Chen, Fan, Girshick, He, 2020; He et al., 2020, eq. 1. Symmetric form: solo-learn's MoCo v2+.
    """

    paper = Paper(
        "Improved Baselines with Momentum Contrastive Learning",
        "Chen, Fan, Girshick, He",
        2020,
        "https://arxiv.org/abs/2003.04297",
    )

    class Config(Method.Config):
        loss: Literal["info_nce", "dcl"] = Field("info_nce", description="contrastive loss")
        symmetric: bool = Field(
            True, description="both views are queries, a queue each (official: only the first)"
        )
        temperature: float = Field(0.2, gt=0, description="tau")
        queue_size: int = Field(32768, ge=1, description="past keys; 65536 on ImageNet")
        ema_base: float = Field(0.99, ge=0, le=1, description="first EMA rate; 0.999 on ImageNet")
        ema_final: float = Field(0.999, ge=0, le=1, description="last EMA rate, along a cosine")
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(256, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, bn=False)
        online = nn.Sequential(encoder, self.projector)
        self.target = EMA(online, base=config.ema_base, final=config.ema_final)
        # queues[v] holds the keys of view v
        self.queues: Any = nn.ModuleList(
            FeatureQueue(config.queue_size, dims[-1]) for _ in range(2 if config.symmetric else 1)
        )
        self.random = SharedGenerator()
        self._keys: list[list[Tensor]] = []

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        x1, x2 = two_views(self, batch)
        if not self.config.symmetric:
            k2 = self._key(x2)
            self._keys.append([k2])
            return Losses(self._contrast(self.project(x1), k2, self.queues[0]))
        k1, k2 = self._key(x1), self._key(x2)
        self._keys.append([k1, k2])
        first = self._contrast(self.project(x1), k2, self.queues[1])
        second = self._contrast(self.project(x2), k1, self.queues[0])
        return Losses((first + second) / 2)

    def _key(self, x: Tensor) -> Tensor:
        return shuffled_forward(self.target, x, self.random.next())

    def _contrast(self, q: Tensor, k: Tensor, queue: FeatureQueue) -> Tensor:
        loss = moco_dcl_loss if self.config.loss == "dcl" else moco_loss
        value = loss(q, k, queue.columns, temperature=self.config.temperature)
        return as_global_mean(value, len(q))

    def after_step(self) -> None:
        for keys in self._keys:
            for queue, k in zip(self.queues, keys):
                queue.push(all_gather(k))
        self._keys.clear()
        self.target.update(nn.Sequential(self.encoder, self.projector), self.progress.fraction)

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="moco-v2",
            views="moco",
            n_views=2,
            optimizer=OptimizerConfig(name="sgd", lr=0.3, weight_decay=1e-4),
        )
