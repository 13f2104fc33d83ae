"""Training dynamics of a linear network with a predictor, in closed form per eigenmode."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Dynamics(NamedTuple):
    """Trajectories (steps + 1, modes) of a simulation, and their times (steps + 1,)."""

    s: Tensor
    p: Tensor
    tau: Tensor
    time: Tensor


def simulate_dynamics(
    s0: Float[Tensor, " modes"] | float,
    p0: Float[Tensor, " modes"] | float,
    tau0: Float[Tensor, " modes"] | float = 1.0,
    alpha_p: float = 1.0,
    beta: float = math.inf,
    eta: float = 0.0,
    sigma2: float = 0.0,
    steps: int = 1000,
    dt: float = 0.01,
) -> Dynamics:
    r"""Integrate how a predictor's eigenvalues follow those of the embedding's correlation.

    In the shared eigenbasis, for data with identity covariance and augmentations with covariance
    :math:`\sigma^2 I`:

    .. math:: \dot p = \alpha_p s (\tau - (1 + \sigma^2) p) - \eta p, \qquad
              \dot s = 2 p s (\tau - (1 + \sigma^2) p) - 2 \eta s, \qquad
              \dot \tau = \beta (1 - \tau) - \tau \dot s / (2 s)

    :math:`s - p^2 / \alpha_p` decays as :math:`e^{-2 \eta t}`. Integrated with the classical
    Runge-Kutta method in float64.

    Parameters
    ----------
    s0, p0
        Eigenvalues of the correlation and of the predictor at the start.
    tau0
        Ratio of target and online weights at the start.
    alpha_p
        Learning rate of the predictor relative to the encoder.
    beta
        Rate of the target's average; infinity holds tau at 1.
    eta
        Weight decay.
    sigma2
        Variance of the augmentations.
    steps, dt
        Number and length of the time steps.

    References
    ----------
    Tian, Chen, Ganguli, Understanding self-supervised Learning Dynamics without Contrastive Pairs,
    2021, section 3.

    Examples
    --------
    >>> run = simulate_dynamics(0.5, 0.5, eta=0.1, steps=5000)
    >>> round(float(run.p[-1, 0]), 4) == round(fixed_points(0.1, 0.0)[1], 4)
    True
    """
    if steps < 0 or not dt > 0:
        raise ValueError(f"steps must not be negative and dt above 0, got {steps} and {dt}")
    if not alpha_p > 0 or beta < 0 or eta < 0 or sigma2 < 0:
        raise ValueError("alpha_p must be above 0; beta, eta and sigma2 must not be negative")
    start = [torch.as_tensor(x, dtype=torch.float64).reshape(-1) for x in (s0, p0, tau0)]
    state = torch.stack(torch.broadcast_tensors(*start))
    if not math.isfinite(beta):
        state[2] = 1.0

    def rate(x: Tensor) -> Tensor:
        s, p, tau = x
        gap = tau - (1 + sigma2) * p
        growth = p * gap - eta  # half of (ds/dt) / s
        d_tau = beta * (1 - tau) - tau * growth if math.isfinite(beta) else torch.zeros_like(tau)
        return torch.stack([2 * s * growth, alpha_p * s * gap - eta * p, d_tau])

    states = [state]
    for _ in range(steps):
        k1 = rate(state)
        k2 = rate(state + dt / 2 * k1)
        k3 = rate(state + dt / 2 * k2)
        k4 = rate(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(state)
    s, p, tau = torch.stack(states, dim=1)
    return Dynamics(s, p, tau, dt * torch.arange(steps + 1, dtype=torch.float64))


def fixed_points(eta: float, sigma2: float = 0.0) -> tuple[float, float] | None:
    r"""The (unstable, stable) non-zero fixed points of the predictor's eigenvalue for tau = 1.

    .. math:: p = \frac{1 \pm \sqrt{1 - 4 \eta (1 + \sigma^2)}}{2 (1 + \sigma^2)}

    None where the weight decay is above :math:`1 / (4 (1 + \sigma^2))`: everything collapses.

    Examples
    --------
    >>> fixed_points(0.1875)
    (0.25, 0.75)
    >>> fixed_points(0.3) is None
    True
    """
    inside = 1 - 4 * eta * (1 + sigma2)
    if inside < 0:
        return None
    root = math.sqrt(inside)
    return (1 - root) / (2 * (1 + sigma2)), (1 + root) / (2 * (1 + sigma2))
