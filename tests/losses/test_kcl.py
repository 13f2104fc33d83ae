"""Kernel contrastive loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tacit.losses import kcl, kcl_loss

EXACT = {"rel": 1e-9, "abs": 1e-9}
KERNELS = [
    ("gaussian", 2.0),
    ("gaussian", 0.5),
    ("log", 2.0),
    ("imq", 2.0),
    ("riesz", 1.0),
    ("riesz", -1.5),
    ("gaussian_riesz", 1.0),
    ("gaussian_riesz", -1.0),
]


def randn(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def value(kernel, d, t):
    if kernel == "gaussian":
        return math.exp(-t * d * d)
    if kernel == "log":
        return -math.log(t * d * d + 1)
    if kernel == "imq":
        return t / math.sqrt(t * t + d * d)
    return d**-t if t > 0 else -(d**-t)


def plain(z1, z2, kernel, t, gamma):
    u, v = normalize(z1, dim=1), normalize(z2, dim=1)
    n = len(u)
    pair, pair_t = ("gaussian", 2.0) if kernel == "gaussian_riesz" else (kernel, t)
    inside = "riesz" if kernel == "gaussian_riesz" else kernel
    aligned = sum(value(pair, float((u[i] - v[i]).norm()), pair_t) for i in range(n)) / n
    energy = 0.0
    for z in (u, v):
        pairs = [(i, j) for i in range(n) for j in range(i)]
        total = sum(value(inside, float((z[i] - z[j]).norm()), t) for i, j in pairs)
        energy += total / len(pairs) * (0.5 if kernel == "log" else 1.0)
    return -2 * aligned + gamma * energy


@pytest.mark.parametrize(("kernel", "t"), KERNELS)
def test_equals_the_written_out_sums(kernel, t):
    z1, z2 = randn(6, 4), randn(6, 4, seed=1)
    got = kcl_loss(z1, z2, kernel=kernel, t=t, gamma=3.0)
    assert float(got) == pytest.approx(plain(z1, z2, kernel, t, 3.0), **EXACT)


def test_defaults_and_closed_form():
    eye = torch.eye(3, dtype=torch.float64)
    # squared distance 2 inside each view, 0 between the views
    assert float(kcl_loss(eye, eye)) == pytest.approx(-2 + 16 * 2 * math.exp(-4), **EXACT)


@pytest.mark.parametrize(("kernel", "t"), KERNELS)
def test_gradcheck(kernel, t):
    z1, z2 = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: kcl_loss(a, b, kernel=kernel, t=t), (z1, z2))


@pytest.mark.parametrize(("kernel", "t"), KERNELS)
def test_tiles_equal_one_matrix(kernel, t, monkeypatch):
    z1, z2 = randn(11, 4).requires_grad_(), randn(11, 4, seed=1).requires_grad_()
    whole = kcl_loss(z1, z2, kernel=kernel, t=t)
    want = torch.autograd.grad(whole, (z1, z2))
    monkeypatch.setattr(kcl, "MEMORY_LIMIT", 1000)
    tiled = kcl_loss(z1, z2, kernel=kernel, t=t)
    got = torch.autograd.grad(tiled, (z1, z2))
    assert float(tiled) == pytest.approx(float(whole), abs=1e-10)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(got, want))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 8), st.integers(2, 5), st.integers(0, 1000), st.sampled_from(KERNELS))
def test_invariances(count, dim, seed, setting):
    kernel, t = setting
    z1, z2 = randn(count, dim, seed=seed), randn(count, dim, seed=seed + 1)
    rotation = torch.linalg.qr(randn(dim, dim, seed=seed)).Q
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    base = float(kcl_loss(z1, z2, kernel=kernel, t=t))
    tolerance = {"rel": 1e-6, "abs": 1e-8}
    for a, b in ((z1 @ rotation, z2 @ rotation), (z1[order], z2[order]), (z2, z1), (2 * z1, z2)):
        assert float(kcl_loss(a, b, kernel=kernel, t=t)) == pytest.approx(base, **tolerance)


@pytest.mark.parametrize(("kernel", "t"), KERNELS)
def test_coincident_points_have_finite_gradients(kernel, t):
    z = torch.ones(4, 3, dtype=torch.float64).requires_grad_()
    loss = kcl_loss(z, z, kernel=kernel, t=t)
    (grad,) = torch.autograd.grad(loss, z)
    assert math.isfinite(float(loss))
    assert bool(torch.isfinite(grad).all())


def test_half_precision_is_computed_in_float32():
    z1, z2 = randn(6, 4).to(torch.bfloat16), randn(6, 4, seed=1).to(torch.bfloat16)
    assert kcl_loss(z1, z2).dtype == torch.float32


def test_bad_inputs():
    z1, z2 = randn(5, 4), randn(5, 4, seed=1)
    with pytest.raises(ValueError, match="kernel"):
        kcl_loss(z1, z2, kernel="laplace")
    for kernel, t in (("gaussian", 0.0), ("imq", -1.0), ("riesz", 0.0), ("log", math.nan)):
        with pytest.raises(ValueError):
            kcl_loss(z1, z2, kernel=kernel, t=t)
    with pytest.raises(ValueError, match="at least 2 instances"):
        kcl_loss(z1[:1], z2[:1])
    with pytest.raises(ValueError, match="NaN"):
        kcl_loss(z1 * math.nan, z2)
