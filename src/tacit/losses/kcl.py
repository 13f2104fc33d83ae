"""Kernel contrastive loss: alignment of pairs against the kernel energy inside each view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._common import check_positive, check_views, full_precision, unit_rows
from ._distances import squared_distances
from ._tiles import Mask, Plan, tiles_for
from .tiled import MEMORY_LIMIT

# Riesz kernels are singular (or not smooth) at distance zero; squared distances stop here.
_SMALLEST = 1e-12


def _gaussian(squared: Tensor, t: float) -> Tensor:
    return (-t * squared).exp()


def _log(squared: Tensor, t: float) -> Tensor:
    return -torch.log1p(t * squared)


def _imq(squared: Tensor, c: float) -> Tensor:
    return c / (c**2 + squared).sqrt()


def _riesz(squared: Tensor, s: float) -> Tensor:
    power = squared.clamp_min(_SMALLEST).pow(-s / 2)
    return power if s > 0 else -power


_KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian": _gaussian,
    "log": _log,
    "imq": _imq,
    "riesz": _riesz,
}


class _PairSum(torch.autograd.Function):
    """Sum of kernel(||u_i - u_j||^2) over all pairs i != j, over half of the tiles.

    Not a log-sum-exp, but the same tiles. The result is one number, so the gradient is taken along
    in the forward pass and no tile is made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, kernel: Callable[[Tensor, float], Tensor], t: float, plan: Plan
    ) -> Tensor:
        grad = torch.zeros_like(u) if ctx.needs_input_grad[0] else None
        slopes = u.new_zeros(len(u))
        totals = []
        for rows, cols, masked in plan.tiles(len(u), len(u)):
            twice = rows != cols  # the tile and its transpose
            with torch.enable_grad():
                squared = squared_distances(u[rows], u[cols]).requires_grad_(grad is not None)
                values = kernel(squared, t)
                if masked:
                    values = values.masked_fill(plan.excluded(rows, cols), 0)
                total = values.sum()
            totals.append(total.detach() * (2 if twice else 1))
            if grad is None:
                continue
            (slope,) = torch.autograd.grad(total, squared)
            grad[rows].addmm_(slope, u[cols])
            slopes[rows] += slope.sum(1)
            if twice:
                grad[cols].addmm_(slope.T, u[rows])
                slopes[cols] += slope.sum(0)
        if grad is not None:
            # d ||u_i - u_j||^2 / d u_i = 2 (u_i - u_j), and every pair counts in both orders.
            ctx.save_for_backward(4 * (slopes[:, None] * u - grad))
        return torch.stack(totals).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sum: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad_sum * grad, None, None, None


def _mean_energy(
    u: Tensor, kernel: Callable[[Tensor, float], Tensor], t: float
) -> Float[Tensor, ""]:
    """Mean kernel value over all pairs i != j."""
    count = len(u)
    own = Mask(self_index=torch.arange(count, device=u.device))
    plan = tiles_for(u, u, 1.0, own, MEMORY_LIMIT, symmetric=True)
    total: Tensor = _PairSum.apply(u, kernel, t, plan)  # type: ignore[no-untyped-call]
    return total / (count * (count - 1))


@full_precision
def kcl_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    kernel: str = "gaussian",
    t: float = 2.0,
    gamma: float = 16.0,
) -> Float[Tensor, ""]:
    r"""Kernel contrastive loss of two views.

    .. math:: L = -2 \, \mathrm{mean}_i\, \kappa(d(u_i, v_i)) + \gamma \big(
        \mathrm{mean}_{i<j}\, \kappa(d(u_i, u_j)) + \mathrm{mean}_{i<j}\, \kappa(d(v_i, v_j)) \big)

    with Euclidean distances d of unit vectors and the kernel

    ==================  =======================================================================
    ``gaussian``        :math:`\exp(-t d^2)`
    ``imq``             :math:`t / \sqrt{t^2 + d^2}`
    ``log``             :math:`-\log(t d^2 + 1)`; half of it in the energy, as released
    ``riesz``           :math:`d^{-t}` for t > 0, :math:`-d^{-t}` for t < 0
    ``gaussian_riesz``  Riesz energy with t, Gaussian alignment with t = 2
    ==================  =======================================================================

    Memory is linear in the batch.

    Parameters
    ----------
    z1, z2
        (M, d) anchors u and positives v, of any scale; M >= 2.
    kernel, t
        Name and parameter of the kernel.
    gamma
        Weight of the energy.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        On an unknown kernel, a parameter out of its range, or unsuitable views.

    References
    ----------
    Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML
    2024.

    Examples
    --------
    >>> import torch
    >>> kcl_loss(torch.eye(2), torch.eye(2), gamma=0.0)
    tensor(-2.)
    """
    if kernel != "gaussian_riesz" and kernel not in _KERNELS:
        known = ", ".join([*_KERNELS, "gaussian_riesz"])
        raise ValueError(f"unknown kernel {kernel!r}; known: {known}")
    if "riesz" in kernel:
        check_positive("|t| of a Riesz kernel", abs(t))
    else:
        check_positive("t", t)
    check_views(z1, z2, minimum=2)
    u, v = unit_rows(z1, "z1"), unit_rows(z2, "z2")

    pair_kernel, pair_t = ("gaussian", 2.0) if kernel == "gaussian_riesz" else (kernel, t)
    energy_kernel = _KERNELS["riesz" if kernel == "gaussian_riesz" else kernel]
    alignment = 2 * _KERNELS[pair_kernel]((u - v).square().sum(1), pair_t).mean()
    energy = _mean_energy(u, energy_kernel, t) + _mean_energy(v, energy_kernel, t)
    if kernel == "log":
        energy = energy / 2
    return gamma * energy - alignment
