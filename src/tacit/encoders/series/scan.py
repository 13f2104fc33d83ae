"""Linear recurrences: h_t = a_t h_{t-1} + b_t, step by step and in parallel."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def sequential_scan(
    a: Float[Tensor, "batch time ..."], b: Float[Tensor, "batch time ..."]
) -> Float[Tensor, "batch time ..."]:
    """The recurrence as it is written, one step after the other; the reference.

    >>> sequential_scan(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 1.0]]))
    tensor([[1.0000, 1.5000]])
    """
    _check(a, b)
    h, out = torch.zeros_like(b[:, 0]), []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1)):
        h = a_t * h + b_t
        out.append(h)
    return torch.stack(out, dim=1)


def parallel_scan(
    a: Float[Tensor, "batch time ..."], b: Float[Tensor, "batch time ..."]
) -> Float[Tensor, "batch time ..."]:
    r"""h_t = a_t h_{t-1} + b_t with h_0 = 0, for all t in about 2 sqrt(T) batched steps.

    The pairs (a, b) compose: (a', b') after (a, b) is (a' a, a' b + b'), which is associative.
    Time is cut into chunks of about sqrt(T) steps; all chunks are scanned side by side, then their
    ends one after the other, then every chunk gets what came before it. Only products and sums of
    the given numbers are formed, no quotients and no logarithms, so it is as stable as the loop
    and takes any sign and zeros. The gradient is the same recurrence backwards in time; it is
    differentiable again.

    Parameters
    ----------
    a, b : (n, T, ...) of one shape and type.

    Raises
    ------
    ValueError : shapes differ, or there are no steps.

    References
    ----------
    Blelloch, "Prefix Sums and Their Applications", 1990; Martin and Cundy, "Parallelizing Linear
    Recurrent Neural Nets Over Sequence Length", ICLR 2018.

    >>> parallel_scan(torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[1.0, 1.0, 1.0]]))
    tensor([[1.0000, 1.5000, 1.7500]])
    """
    _check(a, b)
    return _Scan.apply(a, b)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = _chunked(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a, h = ctx.saved_tensors
        # the gradient of h_t is its own, plus a_{t+1} times that of h_{t+1}
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
        grad_b = _Scan.apply(later.flip(1), grad.flip(1)).flip(1)
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1)
        return grad_b * before, grad_b


def _chunked(a: Tensor, b: Tensor) -> Tensor:
    n, length, *rest = b.shape
    size = max(1, math.isqrt(length))
    chunks = -(-length // size)
    missing = chunks * size - length
    if missing:  # steps that change nothing
        a = torch.cat([a, a.new_ones(n, missing, *rest)], dim=1)
        b = torch.cat([b, b.new_zeros(n, missing, *rest)], dim=1)
    shape = (n, chunks, size, *rest)
    products, h = a.reshape(shape).clone(), b.reshape(shape).clone()
    for t in range(1, size):
        h[:, :, t].addcmul_(products[:, :, t], h[:, :, t - 1])
        products[:, :, t].mul_(products[:, :, t - 1])
    for c in range(1, chunks):
        h[:, c].addcmul_(products[:, c], h[:, c - 1, -1:])
    return h.view(n, chunks * size, *rest)[:, :length]


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2 or a.shape[1] == 0:
        raise ValueError(
            f"a and b must have one shape (n, T, ...) with T >= 1, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
