"""The simulator of BYOL's dynamics."""

from __future__ import annotations

import math

import pytest
import torch

from tacit.parts import fixed_points, simulate_dynamics


@pytest.mark.parametrize(("beta", "tau0"), [(math.inf, 1.0), (2.0, 0.3)])
def test_invariant_decays_with_the_weight_decay(beta, tau0):
    s0 = torch.tensor([0.2, 1.0, 0.7], dtype=torch.float64)
    p0 = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    run = simulate_dynamics(
        s0, p0, tau0, alpha_p=1.7, beta=beta, eta=0.05, sigma2=0.3, steps=800, dt=0.01
    )
    invariant = run.s - run.p**2 / 1.7
    want = invariant[0] * torch.exp(-2 * 0.05 * run.time)[:, None]
    assert torch.allclose(invariant, want, atol=1e-8)
    assert (run.p[-1] - run.p[0]).abs().min() > 1e-3


def test_small_step_is_the_equation():
    s, p, tau, a, b, eta, sigma2, dt = 0.6, 0.3, 0.8, 1.5, 2.0, 0.1, 0.2, 1e-6
    run = simulate_dynamics(s, p, tau, a, b, eta, sigma2, steps=1, dt=dt)
    gap = tau - (1 + sigma2) * p
    ds = 2 * p * s * gap - 2 * eta * s
    slopes = [float((x[1] - x[0]) / dt) for x in (run.s, run.p, run.tau)]
    want = [ds, a * s * gap - eta * p, b * (1 - tau) - tau * ds / (2 * s)]
    assert slopes == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("sigma2", [0.0, 0.5])
def test_two_regimes(sigma2):
    limit = 1 / (4 * (1 + sigma2))
    unstable, stable = fixed_points(0.9 * limit, sigma2)
    start = 1.2 * unstable
    # On the invariant manifold s = p^2 (alpha_p = 1) the analysis of p alone is exact.
    run = simulate_dynamics(start**2, start, eta=0.9 * limit, sigma2=sigma2, steps=4000, dt=0.1)
    assert float(run.p[-1]) == pytest.approx(stable, abs=1e-6)
    below = 0.8 * unstable
    run = simulate_dynamics(below**2, below, eta=0.9 * limit, sigma2=sigma2, steps=4000, dt=0.1)
    assert float(run.p[-1]) < 1e-6
    start = 1 / (2 * (1 + sigma2))
    run = simulate_dynamics(start**2, start, eta=1.1 * limit, sigma2=sigma2, steps=4000, dt=0.1)
    assert float(run.p[-1]) < 1e-6
    assert float(run.s[-1]) < 1e-6
    assert fixed_points(1.1 * limit, sigma2) is None


def test_fixed_points_are_fixed():
    for p in fixed_points(0.1, 0.5):
        assert p * (1 - 1.5 * p) == pytest.approx(0.1)


def test_shapes_and_bad_input():
    run = simulate_dynamics(torch.ones(3), 0.5, steps=4)
    assert run.s.shape == run.tau.shape == (5, 3)
    assert run.time.shape == (5,)
    with pytest.raises(ValueError, match="dt"):
        simulate_dynamics(1.0, 1.0, dt=0.0)
    with pytest.raises(ValueError, match="alpha_p"):
        simulate_dynamics(1.0, 1.0, alpha_p=0.0)
