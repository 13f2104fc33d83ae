"""Batch norm of a sequence whose positions are normalised apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionBatchNorm(nn.Module):
    """`BatchNorm1d` applied position by position, in one batched pass.

    A network that is run over the positions of a sequence one after the other has, in training,
    batch statistics for every position, and running statistics that are updated once a position.
    This gives the same numbers for all positions at once. In evaluation it is a `BatchNorm1d`,
    whose weights it also shares.

    Parameters
    ----------
    dim : channels.
    eps, momentum : as in `BatchNorm1d`.

    Raises
    ------
    ValueError : (forward, training) a position has a single value a channel.

    Examples
    --------
    >>> norm = PositionBatchNorm(3)
    >>> x = torch.randn(8 * 5, 3) + torch.arange(5.0).repeat(8)[:, None]  # 8 samples, 5 positions
    >>> norm(x, 5).view(8, 5, 3).mean(0).abs().max() < 1e-6
    tensor(True)
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.dim, self.eps, self.momentum = dim, eps, momentum
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, positions: int = 1) -> Tensor:
        """x (n * positions, dim) or (n * positions, dim, T), the positions of a sample together."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        per_channel = x.numel() // (positions * self.dim)
        if per_channel < 2:
            raise ValueError(
                "batch norm needs more than one sample in training; use a larger batch "
                "(and drop_last=True)"
            )
        # position p of channel c becomes channel p * dim + c
        split = x.reshape(-1, positions * self.dim, *x.shape[2:])
        mean = torch.zeros(positions * self.dim, dtype=self.running_mean.dtype, device=x.device)
        var = torch.ones_like(mean)
        weight, bias = self.weight.repeat(positions), self.bias.repeat(positions)
        # momentum 1: `mean` and `var` become this batch's own statistics
        out = F.batch_norm(
            split, mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps
        )
        with torch.no_grad():
            keep = 1 - self.momentum
            decay = keep ** torch.arange(positions - 1, -1, -1, device=x.device).to(mean)
            for running, batch in ((self.running_mean, mean), (self.running_var, var)):
                new = self.momentum * (decay @ batch.view(positions, -1))
                running.mul_(keep**positions).add_(new)
            self.num_batches_tracked += positions
        return out.view(x.shape)
