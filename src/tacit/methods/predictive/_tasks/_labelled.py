"""Predict the distances to labelled nodes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import PretextTask
from ._graph import inverse_hops

CHUNK = 256  # labelled nodes at a time


class DistanceToLabeled(PretextTask):
    """Regress the mean closeness to the labelled nodes of every class.

    d_ic = mean over the labelled nodes v of class c of 1 / hops(i, v), 0 without a path and 0 for
    v = i; L = mean squared error of Linear(h) over unlabelled nodes and classes. A class without a
    labelled node has 0 everywhere.

    References
    ----------
    Jin et al., 2020, section 4.2 (Distance2Labeled).
    """

    uses_labels: ClassVar[bool] = True
    targets: Tensor

    def _label_targets(self, train: np.ndarray, labels: np.ndarray) -> None:
        self.outputs = int(labels.max()) + 1
        total = np.zeros((self.x.shape[0], self.outputs))
        for start in range(0, len(train), CHUNK):
            some, classes = train[start : start + CHUNK], labels[start : start + CHUNK]
            total += inverse_hops(self.matrix, some) @ np.eye(self.outputs)[classes]
        count = np.bincount(labels, minlength=self.outputs)
        self.targets = torch.from_numpy(total / np.maximum(count, 1))

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        nodes = self.unlabelled
        return F.mse_loss(head(h[nodes.to(h.device)]), self.targets[nodes].to(h))
