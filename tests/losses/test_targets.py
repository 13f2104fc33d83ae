"""Losses against a target network, a queue, neighbours or codes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tacit.losses import (
    byol_loss,
    moco_loss,
    moco_v3_loss,
    nnclr_loss,
    nt_xent_loss,
    simsiam_loss,
    sinkhorn,
    swav_loss,
)


def tensors(count, n=6, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, d, generator=g, dtype=torch.float64).unbind()


def no_gradient(loss, target):
    return torch.autograd.grad(loss, target, allow_unused=True)[0] is None


def test_moco():
    q, k = tensors(2)
    q.requires_grad_()
    k.requires_grad_()
    queue = normalize(torch.randn(4, 9, dtype=torch.float64), dim=0)
    u, v = normalize(q, dim=1), normalize(k, dim=1)
    logits = torch.cat([(u * v).sum(1, keepdim=True), u @ queue], 1) / 0.2
    want = cross_entropy(logits, torch.zeros(6, dtype=torch.long))
    loss = moco_loss(q, k, queue)
    assert torch.allclose(loss, want, atol=1e-10)
    assert no_gradient(moco_loss(q, k, queue), k)
    assert torch.autograd.gradcheck(lambda x: moco_loss(x, k.detach(), queue), (q,))


def test_moco_with_an_empty_queue_is_zero():
    q, k = tensors(2)
    q.requires_grad_()
    loss = moco_loss(q, k, torch.zeros(4, 0, dtype=torch.float64))
    assert loss.item() == 0
    assert torch.autograd.grad(loss, q)[0].abs().max() == 0


def test_moco_rejects_rows():
    q, k = tensors(2)
    with pytest.raises((ValueError, TypeError)):
        moco_loss(q, k, torch.ones(9, 4, dtype=torch.float64))


def test_moco_v3():
    q1, q2, k1, k2 = tensors(4)
    q1.requires_grad_()
    k2.requires_grad_()
    logits = normalize(q1, dim=1) @ normalize(k2, dim=1).T / 0.3
    want = 2 * 0.3 * cross_entropy(logits, torch.arange(6))
    one = moco_v3_loss(q1, k2, temperature=0.3)
    assert torch.allclose(one, want, atol=1e-10)
    other = moco_v3_loss(q2, k1, temperature=0.3)
    assert torch.allclose(moco_v3_loss(q1, q2, k1, k2, temperature=0.3), one + other)
    assert no_gradient(one, k2)
    assert moco_v3_loss(q1[:1], k2[:1]).item() == pytest.approx(0, abs=1e-12)


def test_byol():
    p1, p2, k1, k2 = tensors(4)
    p1.requires_grad_()
    k2.requires_grad_()
    loss = byol_loss(p1, p2, k1, k2)
    cosine = torch.nn.functional.cosine_similarity
    want = (2 - 2 * cosine(p1, k2)).mean() + (2 - 2 * cosine(p2, k1)).mean()
    assert torch.allclose(loss, want)
    assert torch.allclose(loss, byol_loss(p1, k2) + byol_loss(p2, k1))
    assert torch.allclose(loss, byol_loss(p2, p1, k2, k1))
    assert no_gradient(loss, k2)
    assert byol_loss(p1, p1).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(p1, -p1).item() == pytest.approx(4)
    eye = torch.eye(2)
    assert byol_loss(eye, eye.flip(0)).item() == pytest.approx(2)
    with pytest.raises(ValueError, match="both"):
        byol_loss(p1, p2, k1)
    raw = (p1 - k2).square().sum(1).mean() + (p2 - k1).square().sum(1).mean()
    assert torch.allclose(byol_loss(p1, p2, k1, k2, normalize=False), raw)


def test_simsiam():
    p1, p2, z1, z2 = tensors(4)
    p1.requires_grad_()
    z2.requires_grad_()
    loss = simsiam_loss(p1, p2, z1, z2)
    assert torch.allclose(loss, (simsiam_loss(p1, z2) + simsiam_loss(p2, z1)) / 2)
    assert torch.allclose(loss, simsiam_loss(p2, p1, z2, z1))
    assert torch.allclose(2 + 2 * simsiam_loss(p1, z2), byol_loss(p1, z2))
    assert no_gradient(loss, z2)
    assert simsiam_loss(p1, p2, p2, p1).item() == pytest.approx(-1)
    assert -1 <= loss.item() <= 1


def test_nnclr():
    nn, p = tensors(2)
    p.requires_grad_()
    logits = normalize(nn, dim=1) @ normalize(p, dim=1).T / 0.1
    assert torch.allclose(nnclr_loss(nn, p), cross_entropy(logits, torch.arange(6)), atol=1e-10)
    assert torch.autograd.gradcheck(lambda x: nnclr_loss(nn, x), (p,))
    # The form with same-view negatives has more of them.
    assert nt_xent_loss(nn, p) > 0


def plain_sinkhorn(scores, iterations, epsilon):
    q = (scores / epsilon).exp().T
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def test_sinkhorn():
    scores = torch.rand(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(sinkhorn(scores), plain_sinkhorn(scores, 3, 0.05), atol=1e-10)
    codes = sinkhorn(scores)
    assert torch.allclose(codes.sum(1), torch.ones(20, dtype=torch.float64), atol=1e-12)
    many = sinkhorn(scores, iterations=500)
    assert torch.allclose(many.sum(0), torch.full((5,), 4.0, dtype=torch.float64), atol=1e-6)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(sinkhorn(scores[order]), codes[order])
    assert torch.allclose(sinkhorn(scores.flip(1)), codes.flip(1))
    assert torch.allclose(sinkhorn(scores, epsilon=1e9), torch.full_like(scores, 0.2), atol=1e-6)
    assert not sinkhorn(scores.requires_grad_()).requires_grad


def test_sinkhorn_does_not_overflow():
    codes = sinkhorn(100 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(codes).all()
    assert torch.allclose(codes.sum(1), torch.ones(8))


def test_swav():
    g = torch.Generator().manual_seed(0)
    scores = [torch.rand(7, 5, generator=g, dtype=torch.float64) for _ in range(4)]
    codes = [sinkhorn(s) for s in scores[:2]]
    want = 0.0
    for i in range(2):
        terms = [
            -(codes[i] * (scores[v] / 0.1).log_softmax(1)).sum(1).mean() for v in range(4) if v != i
        ]
        want += sum(terms) / 3 / 2
    assert swav_loss(scores, codes).item() == pytest.approx(want.item(), abs=1e-10)
    flat = [torch.zeros(7, 5)] * 2
    assert swav_loss(flat, [sinkhorn(s) for s in flat]).item() == pytest.approx(math.log(5))
    codes[0].requires_grad_()
    leaf = scores[1].requires_grad_()
    loss = swav_loss(scores, codes)
    assert no_gradient(loss, codes[0])
    assert torch.autograd.grad(swav_loss(scores, codes), leaf)[0].abs().max() > 0


def test_codes_bad_input():
    with pytest.raises(ValueError, match="crops"):
        swav_loss([torch.ones(2, 2)], [torch.ones(2, 2)])
    with pytest.raises(ValueError, match="epsilon"):
        sinkhorn(torch.ones(2, 2), epsilon=0.0)
    with pytest.raises(ValueError, match="iterations"):
        sinkhorn(torch.ones(2, 2), iterations=0)
    with pytest.raises(ValueError, match="NaN"):
        sinkhorn(torch.full((2, 2), float("nan")))
