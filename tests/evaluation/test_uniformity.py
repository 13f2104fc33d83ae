"""Alignment, uniformity and the distance to the uniform law of cosines."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import normalize

from tacit.evaluation.uniformity import alignment, uniformity, wasserstein_uniformity

module = importlib.import_module("tacit.evaluation.uniformity")


def unit(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("alpha", [1, 2, 3.5])
def test_alignment(alpha):
    x, y = unit(7, 4), unit(7, 4, seed=1)
    want = (x - y).norm(dim=1).pow(alpha).mean()
    assert float(alignment(x, y, alpha)) == pytest.approx(float(want), abs=1e-12)
    assert float(alignment(x, x, alpha)) == 0
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: alignment(a, y, alpha), x)
    (grad,) = torch.autograd.grad(alignment(x, x.detach(), alpha), x)
    assert float(grad.abs().max()) == 0


@pytest.mark.parametrize("t", [0.5, 2])
def test_uniformity(t, monkeypatch):
    x = unit(9, 4).requires_grad_()
    want = torch.pdist(x).pow(2).mul(-t).exp().mean().log()
    assert float(uniformity(x, t)) == pytest.approx(float(want), abs=1e-12)
    assert torch.autograd.gradcheck(lambda a: uniformity(a, t), x)
    monkeypatch.setattr(module, "_TILE_ELEMENTS", 20)
    assert float(uniformity(x, t)) == pytest.approx(float(want), abs=1e-12)


def test_uniformity_of_known_configurations():
    assert float(uniformity(torch.ones(5, 3, dtype=torch.float64))) == pytest.approx(0, abs=1e-12)
    eye = torch.eye(4, dtype=torch.float64)
    assert float(uniformity(eye, t=2)) == pytest.approx(-4, abs=1e-12)
    assert float(uniformity(40 * eye, t=2)) == pytest.approx(-4 * 1600, abs=1e-8)


def test_wasserstein_matches_scipy():
    a, b = unit(40, 1)[:, 0] * torch.rand(40, dtype=torch.float64), unit(31, 5, seed=2)[:, 0]
    want = stats.wasserstein_distance(a.numpy(), b.numpy())
    assert module._wasserstein_1d(a, b) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 16, 128])
def test_reference_samples_follow_the_exact_law(dim):
    samples = module._uniform_similarities(dim, 10_000, torch.Generator().manual_seed(0))
    # (x + 1) / 2 is Beta((D - 1) / 2, (D - 1) / 2)
    law = stats.beta((dim - 1) / 2, (dim - 1) / 2)
    assert stats.kstest((samples.numpy() + 1) / 2, law.cdf).statistic < 0.02


def test_wasserstein_uniformity_orders_configurations():
    uniform = wasserstein_uniformity(unit(400, 16))
    shifted = wasserstein_uniformity(unit(400, 16) + 0.2)
    collapsed = wasserstein_uniformity(torch.ones(50, 16))
    assert uniform < 0.01 < shifted < collapsed
    # all cosines 1 against a law of mean 0
    assert collapsed == pytest.approx(1.0, abs=0.01)
    assert wasserstein_uniformity(7 * unit(400, 16)) == pytest.approx(uniform, abs=1e-12)


def test_wasserstein_uniformity_randomness_is_explicit():
    z = unit(50, 8)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = wasserstein_uniformity(z)
    assert torch.equal(torch.get_rng_state(), state)
    assert wasserstein_uniformity(z) == first
    a = wasserstein_uniformity(z, 500, torch.Generator().manual_seed(5))
    assert a == wasserstein_uniformity(z, 500, torch.Generator().manual_seed(5))
    assert a != wasserstein_uniformity(z, 500, torch.Generator().manual_seed(6))


def test_wasserstein_uniformity_samples_pairs_of_many_rows(monkeypatch):
    z = unit(300, 8) + 0.1
    full = wasserstein_uniformity(z)
    monkeypatch.setattr(module, "_MAX_PAIRS", 20_000)
    assert wasserstein_uniformity(z) == pytest.approx(full, abs=0.01)


def test_bad_inputs():
    z = unit(5, 4)
    for bad in (z[:1], z * math.nan, z * torch.tensor(np.array([[1.0], [0], [1], [1], [1]]))):
        with pytest.raises(ValueError):
            wasserstein_uniformity(bad)
    with pytest.raises(ValueError, match="n_samples"):
        wasserstein_uniformity(z, 0)
    with pytest.raises(ValueError, match="alpha"):
        alignment(z, z, 0)
    with pytest.raises(ValueError, match="above 0"):
        uniformity(z, -1)
    with pytest.raises(ValueError, match="2 rows"):
        uniformity(z[:1])
