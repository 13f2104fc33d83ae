"""Collectives that are the identity on one process, and differentiable where losses need it.

A loss over all processes is the pure loss on the gathered batch: every rank gathers, computes the
same value, and `all_gather`'s backward sums the gradients of all ranks. Data-parallel training then
averages parameter gradients over ranks, which gives exactly the one-process gradient. A loss that
is a mean over the own rows goes through `as_global_mean`, so that the average over processes is the
mean over all rows, also where the processes hold different numbers of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
_patient: tuple[Any, Any] = (None, None)  # the processes, and what `patient` made for them


def initialised() -> bool:
    """Whether a process group of more than one process is running."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of processes; 1 outside distributed training."""
    return dist.get_world_size() if initialised() else 1


def rank() -> int:
    """Index of this process; 0 outside distributed training."""
    return dist.get_rank() if initialised() else 0


class Rows(NamedTuple):
    """How many rows every process holds, in rank order, and which process this is."""

    counts: tuple[int, ...]
    rank: int = 0

    @property
    def total(self) -> int:
        """Rows of all processes."""
        return sum(self.counts)

    @property
    def first(self) -> int:
        """Place of this process's first row among those of all."""
        return sum(self.counts[: self.rank])

    @property
    def own(self) -> slice:
        """Places of this process's rows among those of all."""
        return slice(self.first, self.first + self.counts[self.rank])

    @property
    def weight(self) -> float:
        """Factor of a mean over own rows; the average over processes is then that of all rows.

        >>> Rows((3, 1), rank=0).weight, Rows((3, 1), rank=1).weight
        (1.5, 0.5)
        """
        return self.counts[self.rank] * len(self.counts) / self.total


def count_rows(n: int, device: torch.device | None = None) -> Rows:
    """Ask all processes for their number of rows; every process must call it.

    `device` is that of the rows: the numbers travel over it where the processes have no other way.

    >>> count_rows(5)
    Rows(counts=(5,), rank=0)
    """
    if not initialised():
        return Rows((n,))
    counts = torch.zeros(world_size(), dtype=torch.long)
    counts[rank()] = n
    counts = counts.to(_device(device))
    dist.all_reduce(counts)
    return Rows(tuple(counts.tolist()), rank())


def _device(other: torch.device | None) -> torch.device | None:
    """Where small numbers travel: on the CPU, which waits for no GPU, if the processes can."""
    return torch.device("cpu") if "gloo" in dist.get_backend_config() else other


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, rows: Rows) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.rows, longest = rows, max(rows.counts)
        padded = x.contiguous()
        if len(x) < longest:
            padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
        parts = [torch.empty_like(padded) for _ in rows.counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, rows.counts, strict=True)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[ctx.rows.own], None


def all_gather(x: Tensor, rows: Rows | None = None) -> Tensor:
    """Rows of `x` (n, ...) of every process, in rank order: (sum of n, ...). Differentiable.

    Processes may hold different numbers of rows. `rows`: what `count_rows(len(x))` says, where it
    is known already. Outside distributed training: `x` itself.

    >>> all_gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if not initialised():
        return x
    return _AllGather.apply(x, count_rows(len(x), x.device) if rows is None else rows)


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


def as_global_mean(mean: Tensor, n: int | Tensor) -> Tensor:
    """A mean over `n` own items, scaled: averaged over processes it is the mean over all items.

    >>> as_global_mean(torch.tensor(2.0), 5)
    tensor(2.)
    """
    if not initialised():
        return mean
    if not isinstance(n, Tensor):
        n = torch.tensor(n, device=_device(mean.device))
    average = all_reduce_mean(n.double())
    weight = torch.where(average > 0, n / average, torch.ones_like(average))
    return mean * weight.to(mean)


def all_reduce_max(values: list[float], device: torch.device | None = None) -> list[float]:
    """The largest of all processes, number by number."""
    if not initialised():
        return values
    box = torch.tensor(values, dtype=torch.float64, device=_device(device))
    dist.all_reduce(box, op=dist.ReduceOp.MAX)
    found: list[float] = box.tolist()
    return found


def gather_objects(value: T) -> list[T]:
    """What every process holds, in rank order; small things, not tensors.

    >>> gather_objects("one")
    ['one']
    """
    if not initialised():
        return [value]
    found: list[T] = [value] * world_size()
    dist.all_gather_object(found, value)
    return found


def patient() -> Any:
    """The processes once more, for waits of any length; make it where they are together.

    Collectives give up after half an hour. What one process does alone, as decoding data that the
    others have in their cache, may take longer.
    """
    global _patient
    if not initialised() or not dist.is_gloo_available():
        return None
    if _patient[0] is not dist.group.WORLD:
        group = dist.new_group(backend="gloo", timeout=timedelta(days=30))
        _patient = (dist.group.WORLD, group)
    return _patient[1]


def barrier() -> None:
    """Wait for all processes, however long one of them takes."""
    if initialised():
        dist.barrier(patient())


def leave() -> None:
    """Close the connections to the other processes; those that wait for this one then end."""
    global _patient
    _patient = (None, None)  # a group that is still held keeps its connections
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@torch.no_grad()
def copy_whole_(parameter: Tensor, value: Tensor) -> None:
    """Copy into a parameter; where it is divided over the processes, each takes its own part.

    >>> weight = torch.zeros(2)
    >>> copy_whole_(weight, torch.ones(2)); weight
    tensor([1., 1.])
    """
    if initialised():
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            value = distribute_tensor(value, mesh, placements, src_data_rank=None)
    parameter.copy_(value)


def broadcast_float(value: float) -> float:
    """The value that rank 0 holds, on every rank."""
    if not initialised():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return float(box[0])
