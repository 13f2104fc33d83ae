"""Linear recurrences: h_t = a_t h_{t-1} + b_t, step by step and in parallel."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ENOUGH = {"cpu": 2**13}  # numbers in a step from which on the loop is not bound by its overhead


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
    r"""h_t = a_t h_{t-1} + b_t with h_0 = 0, in about 3 sqrt(T) batched steps instead of T.

    The pairs (a, b) compose: (a', b') after (a, b) is (a' a, a' b + b'), which is associative.
    Time is cut into about sqrt(2 T) chunks, which are scanned side by side; then every chunk gets,
    one after the other, what came before it. Only products and sums of the given numbers are
    formed, no quotients and no logarithms, so it is as stable as the loop and takes zeros and any
    sign. Where a single step is work enough for the device, one chunk is used. The gradient is the
    same recurrence backwards in time, without a graph of the steps; it is differentiable again.

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
    return _Scan.apply(a, b, False)


class _Scan(torch.autograd.Function):
    """Forwards h_t = a_t h_{t-1} + b_t; in reverse h_t = a_{t+1} h_{t+1} + b_t.

    Each is the gradient of the other with respect to b.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, reverse: bool) -> Tensor:
        h = _run(a, b, reverse)
        ctx.save_for_backward(a, h)
        ctx.reverse = reverse
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        a, h = ctx.saved_tensors
        g = _Scan.apply(a, grad, not ctx.reverse)
        # the product for a_t joins the states on both sides of the step from t - 1 to t
        steps = g[:, :-1] * h[:, 1:] if ctx.reverse else g[:, 1:] * h[:, :-1]
        return torch.cat([torch.zeros_like(h[:, :1]), steps], dim=1), g, None


def _run(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """One scan without autograd.

    The first state is the first b. A grid of chunks covers the steps after it; the few that do
    not fill the grid are done one by one.
    """
    length, h = b.shape[1], torch.empty_like(b)
    first = length - 1 if reverse else 0
    h[:, first] = b[:, first]
    chunks = _chunks(length, b[:, 0].numel(), b.device.type)
    size = (length - 1) // chunks if chunks > 1 else 0
    done = chunks * size
    if done:
        # states start .. start + done - 1, and the coefficients that lead to them
        start = length - 1 - done if reverse else 1
        coefficients = start + 1 if reverse else start
        grid_a, grid_b, grid_h = (
            x[:, i : i + done].unflatten(1, (chunks, size))
            for x, i in ((a, coefficients), (b, start), (h, start))
        )
        _grid(grid_a, grid_b, grid_h, h[:, first], reverse)
    left = range(length - 2 - done, -1, -1) if reverse else range(1 + done, length)
    for t in left:
        before, coefficient = (t + 1, t + 1) if reverse else (t - 1, t)
        torch.addcmul(b[:, t], a[:, coefficient], h[:, before], out=h[:, t])
    return h


def _grid(a: Tensor, b: Tensor, h: Tensor, state: Tensor, reverse: bool) -> None:
    """Fill h (n, chunks, size, ...): chunks side by side, then the state handed on."""
    chunks, size = h.shape[1:3]
    order = range(size - 1, -1, -1) if reverse else range(size)
    products, last = torch.empty_like(h), None
    for t in order:
        if last is None:
            h[:, :, t], products[:, :, t] = b[:, :, t], a[:, :, t]
        else:
            torch.addcmul(b[:, :, t], a[:, :, t], h[:, :, last], out=h[:, :, t])
            torch.mul(a[:, :, t], products[:, :, last], out=products[:, :, t])
        last = t
    for c in range(chunks - 1, -1, -1) if reverse else range(chunks):
        h[:, c].addcmul_(products[:, c], state[:, None])
        state = h[:, c, last]


def _chunks(length: int, numbers: int, device: str) -> int:
    """Chunks for steps of so many numbers: 1 where starting an operation is the smaller cost."""
    return 1 if numbers >= ENOUGH.get(device, 2**19) or length < 32 else math.isqrt(2 * length)


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2 or a.shape[1] == 0:
        raise ValueError(
            f"a and b must have one shape (n, T, ...) with T >= 1, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
