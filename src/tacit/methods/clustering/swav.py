"""SwAV: swapped assignments to prototypes."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import all_gather, as_global_mean, count_rows
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.errors import ConfigError
from tacit.losses import sinkhorn, swav_loss
from tacit.methods.base import Batch, Losses, Method, Paper, cat_views
from tacit.parts import FeatureQueue, Prototypes
from tacit.recipe import OptimizerConfig, Recipe


class SwAV(Method):
    """Every crop predicts the code of every other global crop; codes use all prototypes equally.

    L = mean over global i and crops v != i of -sum_c q_ic log softmax_c(u_v C'/tau), q from
    Sinkhorn-Knopp on exp(u C'/eps) of all processes and, later, a queue of past features.

    References
    ----------
    Caron et al., 2020, eq. 2-6.
    """

    paper = Paper(
        "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
        "Caron, Misra, Mairal, Goyal, Bojanowski, Joulin",
        2020,
        "https://arxiv.org/abs/2006.09882",
    )

    class Config(Method.Config):
        temperature: float = Field(0.1, gt=0, description="tau of the predictions")
        epsilon: float = Field(0.05, gt=0, description="entropy weight of Sinkhorn-Knopp")
        sinkhorn_iterations: int = Field(3, ge=1, description="row and column scalings")
        n_prototypes: int = Field(3000, ge=1, description="number of prototypes")
        n_global: int = Field(2, ge=1, description="first views, whose codes are predicted")
        queue_size: int = Field(3840, ge=0, description="past features in the codes; 0: no queue")
        queue_start_epoch: int = Field(
            15,
            ge=0,
            description="first epoch that uses the queue; solo-learn CIFAR 50",
        )
        freeze_prototypes_epochs: int = Field(
            1, ge=0, description="epochs of fixed prototypes; 2 in solo-learn's CIFAR"
        )
        proj_hidden_dim: int = Field(2048, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(128, ge=1, description="output width of the projector")

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims)
        self.prototypes = Prototypes(dims[-1], config.n_prototypes)
        queues = config.n_global if config.queue_size else 0
        self.queues: Any = nn.ModuleList(
            FeatureQueue(config.queue_size, dims[-1], init="empty") for _ in range(queues)
        )
        self._features: list[list[Tensor]] = []

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def training_loss(self, batch: Batch) -> Losses:
        c = self.config
        if not 2 <= len(batch.views) >= c.n_global:
            raise ConfigError(
                f"SwAV needs at least 2 views and n_global = {c.n_global} of them, got "
                f"{len(batch.views)}; raise n_views."
            )
        z = cat_views(self.project, batch.views)
        scores = [self.prototypes(view) for view in z]
        codes = [self._codes(i, scores[i]) for i in range(c.n_global)]
        self._features.append([view.detach() for view in z[: c.n_global]])
        loss = swav_loss(scores, codes, temperature=c.temperature)
        return Losses(as_global_mean(loss, len(batch)))

    @torch.no_grad()
    def _codes(self, i: int, scores: Tensor) -> Tensor:
        """Codes of global crop i, balanced over all processes and its queue."""
        c = self.config
        rows = count_rows(len(scores), scores.device)
        everything = all_gather(scores.detach(), rows)
        if self.queues and self.progress.epoch >= c.queue_start_epoch:
            queue = self.queues[i]
            if int(queue.filled) == queue.size:
                everything = torch.cat([everything, self.prototypes(queue.rows).to(scores.dtype)])
        codes = sinkhorn(everything, iterations=c.sinkhorn_iterations, epsilon=c.epsilon)
        return codes[rows.own]

    def before_step(self) -> None:
        if self.progress.epoch < self.config.freeze_prototypes_epochs:
            self.prototypes.freeze()

    def after_step(self) -> None:
        self.prototypes.renormalise()
        for features in self._features:
            for queue, z in zip(self.queues, features):
                queue.push(all_gather(z))
        self._features.clear()

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(
            method="swav",
            views="swav",
            views_options={"local_views": 0},  # 6 small crops at 224 pixels
            n_views=2,
            optimizer=OptimizerConfig(name="lars", lr=0.6, weight_decay=1e-6),
        )
