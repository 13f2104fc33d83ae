"""Collectives that are the identity on one process, and differentiable where losses need it.

A loss over all processes is the pure loss on the gathered batch: every rank gathers, computes the
same value, and `all_gather`'s backward sums the gradients of all ranks. Data-parallel training then
averages parameter gradients over ranks, which gives exactly the one-process gradient.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def initialised() -> bool:
    """Whether a process group of more than one process is running."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of processes; 1 outside distributed training."""
    return dist.get_world_size() if initialised() else 1


def rank() -> int:
    """Index of this process; 0 outside distributed training."""
    return dist.get_rank() if initialised() else 0


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        start = rank() * ctx.rows
        return grad[start : start + ctx.rows]


def all_gather(x: Tensor) -> Tensor:
    """Rows of `x` (n, ...) of every process, in rank order: (n * world, ...). Differentiable.

    Every rank must pass the same number of rows. Outside distributed training: `x` itself.

    >>> all_gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    return _AllGather.apply(x) if initialised() else x


def all_reduce_mean(x: Tensor) -> Tensor:
    """Mean of `x` over processes, without gradient (for running statistics)."""
    if not initialised():
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x / world_size()


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum of `x` over processes, without gradient (for Sinkhorn's marginals)."""
    if not initialised():
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


def broadcast_float(value: float) -> float:
    """The value that rank 0 holds, on every rank."""
    if not initialised():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return float(box[0])
