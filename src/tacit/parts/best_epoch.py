"""The weights of the epoch with the lowest mean training loss."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class BestEpoch(nn.Module):
    """Watches the loss of every step and keeps a copy of the weights of the best epoch.

    An epoch ends where the next one begins, before its first step: the weights are then still
    those of the epoch's end. The copy is part of the state, so a resumed run keeps it.

    Examples
    --------
    >>> network, best = nn.Linear(1, 1, bias=False), BestEpoch()
    >>> for epoch, loss in enumerate([3.0, 1.0, 2.0]):
    ...     best.watch(network, torch.tensor(loss), epoch)
    ...     _ = network.weight.data.fill_(epoch)
    >>> best.restore(network)
    >>> network.weight.item(), best.lowest
    (1.0, 1.0)
    """

    def __init__(self) -> None:
        super().__init__()
        self.lowest, self.epoch, self.steps = math.inf, 0, 0
        self._total: Tensor | float = 0.0
        self._weights: dict[str, Tensor] = {}

    def watch(self, network: nn.Module, loss: Tensor, epoch: int) -> None:
        """Before the update of a step: its loss, and the epoch it belongs to."""
        if epoch != self.epoch:
            self._close(network)
            self.epoch = epoch
        self._total = self._total + loss.detach()
        self.steps += 1

    def restore(self, network: nn.Module) -> None:
        """After the last step: end its epoch and load the best weights into `network`."""
        self._close(network)
        network.load_state_dict(self._weights or network.state_dict())

    def _close(self, network: nn.Module) -> None:
        if self.steps == 0:
            return
        mean = float(self._total) / self.steps
        if mean < self.lowest:
            self.lowest, self._weights = mean, copy.deepcopy(network.state_dict())
        self._total, self.steps = 0.0, 0

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "lowest": self.lowest,
            "epoch": self.epoch,
            "steps": self.steps,
            "total": torch.as_tensor(self._total),
            "weights": self._weights,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.lowest, self.epoch, self.steps = state["lowest"], state["epoch"], state["steps"]
        self._total, self._weights = state["total"], state["weights"]
