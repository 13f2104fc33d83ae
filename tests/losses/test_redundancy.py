"""Barlow Twins, mixed Barlow Twins, VICReg, W-MSE, alignment and uniformity."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from tacit.losses import (
    align_loss,
    barlow_twins_loss,
    mixed_barlow_reg,
    mixup_views,
    off_diagonal,
    uniform_loss,
    vicreg_loss,
    whiten,
    wmse_loss,
)


def tensors(count, n=12, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, d, generator=g, dtype=torch.float64).unbind()


def standardized(z, correction):
    return (z - z.mean(0)) / z.std(0, correction=correction)


def test_off_diagonal():
    c = torch.arange(9.0).view(3, 3)
    assert off_diagonal(c).tolist() == [1, 2, 3, 5, 6, 7]
    assert off_diagonal(torch.ones(1, 1)).numel() == 0


@pytest.mark.parametrize(("form", "correction"), [("batchnorm", 0), ("unbiased", 1)])
def test_barlow_closed_form(form, correction):
    z1, z2 = tensors(2)
    c = standardized(z1, correction).T @ standardized(z2, correction) / 12
    eye = torch.eye(4, dtype=torch.float64)
    weight = eye + 0.3 * (1 - eye)
    want = 0.5 * ((c - eye) ** 2 * weight).sum()
    got = barlow_twins_loss(z1, z2, lambd=0.3, scale=0.5, eps=0.0, standardize=form)
    assert torch.allclose(got, want, atol=1e-10)


def test_barlow_default_is_batchnorm():
    z1, z2 = tensors(2)
    bn = torch.nn.BatchNorm1d(4, affine=False).double()
    c = bn(z1).T @ bn(z2) / 12
    want = (c.diagonal() - 1).pow(2).sum() + 0.0051 * off_diagonal(c).pow(2).sum()
    assert torch.allclose(barlow_twins_loss(z1, z2), want, atol=1e-10)


def test_barlow_worked_examples():
    z = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert barlow_twins_loss(z, z, standardize="unbiased").item() == pytest.approx(0.25)
    assert barlow_twins_loss(z, z).item() == pytest.approx(0, abs=1e-9)
    constant = torch.ones(6, 5)
    assert barlow_twins_loss(constant, constant).item() == pytest.approx(5)
    # Exactly decorrelated features, identical views: dim / N^2 in the unbiased form.
    h = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert barlow_twins_loss(h, h, standardize="unbiased").item() == pytest.approx(3 / 16)
    biased = barlow_twins_loss(h, h, eps=0.0, standardize="batchnorm")
    assert biased.item() == pytest.approx(0, abs=1e-20)
    # without eps it is the form that has none
    assert barlow_twins_loss(z, z, eps=0.0).item() == pytest.approx(0.25)


def test_barlow_invariances_and_errors():
    z1, z2 = tensors(2)
    loss = barlow_twins_loss(z1, z2, eps=0.0)
    assert torch.allclose(barlow_twins_loss(z2, z1, eps=0.0), loss)
    assert torch.allclose(barlow_twins_loss(z1 * 3 + 1, z2 * 0.1, eps=0.0), loss)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(barlow_twins_loss(z1[:, order], z2[:, order], eps=0.0), loss)
    z1.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: barlow_twins_loss(a, z2), (z1,))
    with pytest.raises(ValueError, match="at least 2"):
        barlow_twins_loss(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="zero variance"):
        barlow_twins_loss(torch.ones(4, 3), torch.ones(4, 3), standardize="unbiased")


@pytest.mark.parametrize("d", [4, 20])
@pytest.mark.parametrize("variant", ["paper", "imagenet_released"])
def test_mixed_reg_closed_form(d, variant):
    z1, z2, zm = tensors(3, d=d)
    perm = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    a, b, m = (standardized(z, 1) for z in (z1, z2, zm))
    lam = 0.3
    first = m.T @ a / 12 - (lam * a.T @ a + (1 - lam) * b[perm].T @ a) / 12
    left = a if variant == "paper" else b
    second = m.T @ b / 12 - (lam * left.T @ b + (1 - lam) * b[perm].T @ b) / 12
    want = first.pow(2).sum() + second.pow(2).sum()
    got = mixed_barlow_reg(z1, z2, zm, perm, lam, variant=variant)
    assert torch.allclose(got, want, atol=1e-10)
    mean = mixed_barlow_reg(z1, z2, zm, perm, lam, variant=variant, reduction="mean")
    assert torch.allclose(mean, want / d**2)


def test_mixed_reg_limits():
    z1, z2 = tensors(2)
    perm = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert mixed_barlow_reg(z1, z2, z1, perm, 1.0).item() == pytest.approx(0, abs=1e-20)
    assert mixed_barlow_reg(z1, z2, z2[perm], perm, 0.0).item() == pytest.approx(0, abs=1e-20)
    same = mixed_barlow_reg(z1, z1, z1, torch.arange(12), 0.4)
    assert same.item() == pytest.approx(0, abs=1e-20)
    released = mixed_barlow_reg(z1, z2, z1, perm, 1.0, variant="imagenet_released")
    assert released.item() > 0.1
    # Gradient flows through the targets too.
    z1.requires_grad_()
    loss = mixed_barlow_reg(z1, z2, z2 + 0.1 * z1.detach(), perm, 0.5)
    assert torch.autograd.grad(loss, z1)[0].abs().max() > 0
    with pytest.raises(ValueError, match="lam"):
        mixed_barlow_reg(z1, z2, z1, perm, 1.5)


def test_mixup_views():
    x1, x2 = torch.rand(5, 3, 2), torch.rand(5, 3, 2)
    xm, perm, lam = mixup_views(x1, x2, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(xm, lam * x1 + (1 - lam) * x2[perm])
    assert sorted(perm.tolist()) == list(range(5))
    again = mixup_views(x1, x2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again[0], xm)
    g = torch.Generator().manual_seed(0)
    lams = torch.tensor([mixup_views(x1, x2, generator=g)[2] for _ in range(500)])
    assert abs(lams.mean() - 0.5) < 0.05
    assert abs(lams.var() - 1 / 12) < 0.02
    narrow = torch.tensor([mixup_views(x1, x2, alpha=50.0, generator=g)[2] for _ in range(200)])
    assert abs(narrow.var() - 1 / (4 * 101)) < 0.002
    with pytest.raises(ValueError, match="linearly"):
        mixup_views(torch.ones(2, dtype=torch.long), torch.ones(2, dtype=torch.long))


def test_vicreg_closed_form():
    z1, z2 = tensors(2)
    parts = vicreg_loss(z1, z2, return_parts=True)

    def variance(z):
        return (1 - (z.var(0) + 1e-4).sqrt()).relu().mean()

    def covariance(z):
        return off_diagonal(z.T.cov()).pow(2).sum() / 4

    assert torch.allclose(parts.invariance, (z1 - z2).pow(2).mean())
    assert torch.allclose(parts.variance, (variance(z1) + variance(z2)) / 2)
    assert torch.allclose(parts.covariance, covariance(z1) + covariance(z2))
    total = 25 * parts.invariance + 25 * parts.variance + parts.covariance
    assert torch.allclose(parts.loss, total)
    assert torch.allclose(vicreg_loss(z1, z2), total)


def test_vicreg_worked_examples():
    z = torch.tensor([[1.0], [-1.0]])
    assert vicreg_loss(z, z).item() == 0
    assert vicreg_loss(torch.zeros(5, 3), torch.zeros(5, 3)).item() == pytest.approx(24.75)
    z1, z2 = tensors(2)
    shifted = vicreg_loss(z1 + 7, z2 + 7)
    assert torch.allclose(shifted, vicreg_loss(z1, z2))
    assert torch.allclose(vicreg_loss(z2, z1), vicreg_loss(z1, z2))
    assert not torch.allclose(vicreg_loss(2 * z1, 2 * z2), vicreg_loss(z1, z2))
    z1.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: vicreg_loss(a, z2), (z1,))
    with pytest.raises(ValueError, match="at least 2"):
        vicreg_loss(torch.ones(1, 3), torch.ones(1, 3))


def test_whiten():
    (x,) = tensors(1, n=40)
    v = whiten(x)
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(v.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(v.T.cov(), eye, atol=1e-10)
    lower = torch.randn(4, 4, dtype=torch.float64).tril(-1) + torch.diag(
        torch.tensor([1.0, 2, 3, 4])
    )
    assert torch.allclose(whiten(x @ lower.T.double() + 5), v, atol=1e-8)
    groups = whiten(x.view(2, 20, 4))
    assert torch.allclose(groups[1], whiten(x[20:]))
    shrunk = whiten(x, eps=1.0)
    assert torch.allclose(shrunk, x - x.mean(0))
    with pytest.raises(ValueError, match="singular"):
        whiten(torch.randn(4, 4))
    with pytest.raises((ValueError, TypeError)):
        whiten(x, method="pca")


def test_wmse():
    z1, z2, z3 = tensors(3, n=24)
    cosine = torch.nn.functional.cosine_similarity
    want = (2 - 2 * cosine(whiten(z1), whiten(z2))).mean()
    assert torch.allclose(wmse_loss(z1, z2), want)
    assert 0 <= want.item() <= 4
    pairs = [wmse_loss(a, b) for a, b in ((z1, z2), (z1, z3), (z2, z3))]
    assert torch.allclose(wmse_loss(z1, z2, z3), sum(pairs) / 3)
    lower = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [0, 3, 1, 0], [1, 1, 1, 2]]).double()
    assert torch.allclose(wmse_loss(z1 @ lower.T, z2 @ lower.T), want)
    # The same partition for both views: equal views give zero for every partition.
    g = torch.Generator().manual_seed(0)
    assert wmse_loss(z1, z1, w_size=8, w_iter=3, generator=g).item() == pytest.approx(0, abs=1e-10)
    one = wmse_loss(z1, z2, w_size=10, generator=torch.Generator().manual_seed(1))
    two = wmse_loss(z1, z2, w_size=10, generator=torch.Generator().manual_seed(1))
    assert torch.equal(one, two)
    z1.requires_grad_()
    z2.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: wmse_loss(a, b, w_size=12), (z1, z2))
    with pytest.raises(ValueError, match="w_size"):
        wmse_loss(z1, z2, w_size=25)


def test_alignment_and_uniformity():
    z1, z2 = tensors(2)
    u1, u2 = normalize(z1, dim=1), normalize(z2, dim=1)
    for alpha in (1.0, 2.0, 3.0):
        want = (u1 - u2).norm(dim=1).pow(alpha).mean()
        assert torch.allclose(align_loss(z1, z2, alpha=alpha), want)
    for t in (1.0, 2.0, 5.0):
        want = torch.pdist(u1).pow(2).mul(-t).exp().mean().log()
        assert uniform_loss(z1, t=t).item() == pytest.approx(want.item(), abs=1e-9)
    assert uniform_loss(torch.eye(1).repeat(4, 1)).item() == pytest.approx(0, abs=1e-6)
    opposite = torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.float64)
    assert uniform_loss(opposite, t=3.0).item() == pytest.approx(-12)
    assert align_loss(z1, z1).item() == 0
    z1.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: uniform_loss(a), (z1,))
    # Equal points have a finite gradient.
    grad = torch.autograd.grad(align_loss(z1, z1.detach(), alpha=1.0), z1)[0]
    assert torch.isfinite(grad).all()
    with pytest.raises(ValueError, match="at least 2"):
        uniform_loss(torch.ones(1, 2))
    assert math.isfinite(uniform_loss(torch.randn(300, 8)).item())
