"""Closed-form predictors, their statistics, and the constraints on trained ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import CollapseError
from tacit.losses import byol_loss
from tacit.parts import (
    ClosedFormPredictor,
    CorrelationEMA,
    diagonalise_,
    directcopy_weight,
    directpred_weight,
    eigenspace_alignment,
    symmetrise_,
    symmetrise_pair_,
)


def correlation(d=5, rank=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(rank or 30, d, generator=g, dtype=torch.float64)
    return f.T @ f / len(f)


def diag(*values):
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def test_worked_examples():
    F = diag(4.0, 1.0)
    assert torch.allclose(directpred_weight(F, eps=0.01), diag(1.01, 0.51))
    assert torch.allclose(directcopy_weight(F, eps=0.3), diag(4.3, 1.3))
    assert torch.allclose(directcopy_weight(F, eps=0.3, normalize=True), diag(1.3, 0.55))
    inside = directpred_weight(F, eps=0.05, eps_inside=True)
    assert torch.allclose(inside, diag(1.05**0.5, 0.3**0.5))
    assert torch.allclose(directpred_weight(F, eps=0.01, shrink=0.5), diag(0.505, 0.255))
    assert torch.allclose(directpred_weight(F, eps=0.3, root=1.0), diag(1.3, 0.55))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.floats(0, 0.5), st.floats(1, 4), st.integers(0, 99))
def test_weight_invariants(d, eps, root, seed):
    F = correlation(d, seed=seed)
    W = directpred_weight(F, eps=eps, root=root)
    assert torch.equal(W, W.T)
    assert torch.linalg.matrix_norm(W @ F - F @ W) < 1e-10
    eig = torch.linalg.eigvalsh(W)
    assert eig[-1].item() == pytest.approx(1 + eps, abs=1e-9)
    assert eig[0].item() >= max(eps, 1e-4) - 1e-9
    assert torch.allclose(directpred_weight(7 * F, eps=eps, root=root), W, atol=1e-9)
    R = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0]
    rotated = directpred_weight(R @ F @ R.T, eps=eps, root=root)
    assert torch.allclose(rotated, R @ W @ R.T, atol=1e-8)


def test_limits():
    F = 3 * torch.eye(4, dtype=torch.float64)
    assert torch.allclose(directpred_weight(F), 1.01 * torch.eye(4, dtype=torch.float64))
    deficient = correlation(6, rank=2)
    eig = torch.linalg.eigvalsh(directpred_weight(deficient, eps=0.02))
    assert torch.allclose(eig[:4], torch.full((4,), 0.02, dtype=torch.float64), atol=1e-12)
    assert (eig[4:] > 0.03).all()
    eig = torch.linalg.eigvalsh(directpred_weight(deficient, eps=0.0))
    assert torch.allclose(eig[:4], torch.full((4,), 1e-4, dtype=torch.float64), atol=1e-12)
    identity = directpred_weight(correlation(), eps=1e9)  # no predictor, up to the scale
    assert torch.allclose(identity / 1e9, torch.eye(5, dtype=torch.float64), atol=1e-8)
    scaled = directcopy_weight(2 * correlation())
    assert not torch.allclose(scaled, directcopy_weight(correlation()))


def test_loss_ignores_the_scale_of_the_predictor():
    g = torch.Generator().manual_seed(0)
    f, k = torch.randn(2, 8, 5, generator=g, dtype=torch.float64).unbind()
    W = directpred_weight(correlation())
    grads = []
    for scale in (1.0, 9.0):
        x = f.clone().requires_grad_()
        grads.append(torch.autograd.grad(byol_loss(x @ (scale * W), k), x)[0])
    assert torch.allclose(*grads, atol=1e-10)


def test_bad_input():
    with pytest.raises(CollapseError, match="collapsed to zero"):
        directpred_weight(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="NaN"):
        directcopy_weight(torch.full((3, 3), float("nan")))
    with pytest.raises(ValueError, match="eps"):
        directpred_weight(torch.eye(3), eps=-0.1)
    with pytest.raises((ValueError, TypeError)):
        directpred_weight(torch.ones(3, 2))


def test_alignment():
    F = correlation()
    assert torch.allclose(
        eigenspace_alignment(directpred_weight(F), F), torch.ones(5, dtype=torch.float64)
    )
    W = symmetrise_(torch.randn(5, 5, dtype=torch.float64))
    cosine = eigenspace_alignment(W, F)
    assert ((cosine >= 0) & (cosine <= 1 + 1e-12)).all()
    assert cosine.min() < 0.99
    v = torch.linalg.eigh(F)[1][:, -1]
    assert cosine[0].item() == pytest.approx(((v @ W @ v).abs() / (W @ v).norm()).item())


def test_correlation_average():
    g = torch.Generator().manual_seed(0)
    batches = torch.randn(3, 2, 8, 4, generator=g)
    c = CorrelationEMA(4, rho=0.3, track_mean=True)
    want = mean = None
    for f1, f2 in batches:
        rows = torch.cat([f1, f2])
        now, now_mean = rows.T @ rows / 16, rows.mean(0)
        want = now if want is None else 0.3 * want + 0.7 * now
        mean = now_mean if mean is None else 0.3 * mean + 0.7 * now_mean
        c.update(f1, f2)
    assert torch.allclose(c.corr, want, atol=1e-6)
    assert torch.allclose(c.mean, mean, atol=1e-6)
    assert torch.allclose(c.covariance, want - torch.outer(mean, mean), atol=1e-6)
    other = CorrelationEMA(4, rho=0.3, track_mean=True)
    other.load_state_dict(c.state_dict())
    for x in (c, other):
        x.update(*batches[0])
    assert torch.equal(other.corr, c.corr)


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_correlation_memory(rho):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 8, 4, generator=g).unbind()
    c = CorrelationEMA(4, rho)
    c.update(a)
    first = c.corr.clone()
    c.update(a)
    assert torch.allclose(c.corr, first)
    c.update(b)
    assert torch.allclose(c.corr, rho * first + (1 - rho) * b.T @ b / 8, atol=1e-6)


def test_correlation_bad_input():
    c = CorrelationEMA(4)
    with pytest.raises(ValueError, match="update 0"):
        c.update(torch.full((2, 4), float("inf")))
    with pytest.raises((ValueError, TypeError)):
        c.update(torch.ones(2, 3))
    with pytest.raises((ValueError, TypeError)):
        c.update(torch.ones(2, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match="rho"):
        CorrelationEMA(4, 1.5)


@pytest.mark.parametrize("mode", ["directpred", "directcopy"])
def test_predictor_is_set_after_the_step(mode):
    g = torch.Generator().manual_seed(0)
    f1, f2 = torch.randn(2, 32, 4, generator=g).unbind()
    predictor = ClosedFormPredictor(4, mode)
    assert not predictor.weight.requires_grad
    start = predictor.weight.detach().clone()
    predictor.observe(f1, f2)
    assert torch.equal(predictor.weight, start)
    predictor.refresh(0)
    rows = torch.cat([f1, f2])
    F = rows.T @ rows / 64
    want = directpred_weight(F) if mode == "directpred" else directcopy_weight(F)
    assert torch.allclose(predictor.weight, want, atol=1e-5)
    assert torch.allclose(predictor(f1), f1 @ predictor.weight.T)
    assert {"weight", "correlation.corr"} <= set(predictor.state_dict())


def test_predictor_frequency_and_options():
    f = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)) + 1
    never, fifth = ClosedFormPredictor(4, freq=0), ClosedFormPredictor(4, freq=5)
    assert never.weight.requires_grad
    assert fifth.weight.requires_grad
    for p in (never, fifth):
        p.observe(f, f)
        start = p.weight.detach().clone()
        p.refresh(3)
        assert torch.equal(p.weight, start)
        p.refresh(5)
        assert torch.equal(p.weight, start) == (p is never)
    centred = ClosedFormPredictor(4, "directcopy", zero_mean=True, eps=0.0)
    centred.observe(f, f)
    centred.refresh(0)
    assert torch.allclose(centred.weight, f.T.cov(correction=0), atol=1e-5)
    diagonal = ClosedFormPredictor(4, diagonal=True)
    diagonal.observe(f, f)
    diagonal.refresh(0)
    assert torch.equal(diagonal.weight, torch.diag(diagonal.weight.diagonal()))


def test_dead_encoder_keeps_the_predictor():
    predictor = ClosedFormPredictor(3)
    start = predictor.weight.detach().clone()
    predictor.observe(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.warns(RuntimeWarning, match="collapsed to zero"):
        predictor.refresh(0)
    assert torch.equal(predictor.weight, start)


def test_constraints():
    g = torch.Generator().manual_seed(0)
    W = torch.randn(4, 4, generator=g)
    half = (W + W.T) / 2
    assert torch.equal(symmetrise_(W.clone()), half)
    scaled = symmetrise_(W.clone(), normalize=True)
    largest = torch.linalg.eigvalsh(half)[-1]
    assert torch.allclose(scaled, half / largest)
    tiny = diag(1e-3, -1.0)
    assert torch.equal(symmetrise_(tiny.clone(), normalize=True), tiny)
    a, b = torch.randn(5, 3, generator=g), torch.randn(3, 5, generator=g)
    want = (a + b.T) / 2
    symmetrise_pair_(a, b)
    assert torch.equal(a, want)
    assert torch.equal(b, want.T)
    assert torch.equal(diagonalise_(W.clone()), torch.diag(W.diagonal()))
