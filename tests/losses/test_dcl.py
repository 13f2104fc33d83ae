"""Decoupled contrastive learning."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize, softplus

from tacit.losses import (
    DCLLoss,
    DCLWLoss,
    dcl_loss,
    dclw_loss,
    moco_dcl_loss,
    moco_loss,
    nnclr_dcl_loss,
    nnclr_loss,
    npc_multiplier,
    nt_xent_loss,
    von_mises_fisher_weights,
)


def pair(n=6, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, d, generator=g, dtype=torch.float64).unbind()


def loops(z1, z2, tau, product=False):
    u = [normalize(z1, dim=1), normalize(z2, dim=1)]
    n, out = len(z1), torch.zeros(2, len(z1), dtype=torch.float64)
    for k in range(2):
        for i in range(n):
            sums = [
                sum(math.exp(u[k][i] @ u[v][j] / tau) for j in range(n) if j != i) for v in range(2)
            ]
            log_u = sum(map(math.log, sums)) if product else math.log(sum(sums))
            out[k, i] = -(u[0][i] @ u[1][i]) / tau + log_u
    return out


@pytest.mark.parametrize("negatives", ["joint", "product"])
def test_against_loops(negatives):
    z1, z2 = pair()
    want = loops(z1, z2, 0.3, negatives == "product")
    got = dcl_loss(z1, z2, temperature=0.3, negatives=negatives, reduction="none")
    assert torch.allclose(got, want, atol=1e-10)
    assert torch.allclose(dcl_loss(z1, z2, temperature=0.3, negatives=negatives), want.mean())


def test_worked_example():
    eye = torch.eye(2, dtype=torch.float64)
    assert dcl_loss(eye, eye, temperature=0.5).item() == pytest.approx(math.log(2) - 2)
    assert dclw_loss(eye, eye, temperature=0.5).item() == pytest.approx(math.log(2) - 2)
    q = npc_multiplier(eye, eye, temperature=0.5)
    assert torch.allclose(q, torch.full((2, 2), 2 / (math.e**2 + 2), dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 10), st.integers(1, 6), st.floats(0.05, 3), st.integers(0, 99))
def test_nt_xent_is_softplus_of_dcl(n, d, tau, seed):
    z1, z2 = pair(n, d, seed)
    dcl = dcl_loss(z1, z2, temperature=tau, reduction="none")
    nt_xent = nt_xent_loss(z1, z2, temperature=tau, reduction="none")
    assert torch.allclose(nt_xent, softplus(dcl), atol=1e-9)
    bound = math.log(2 * (n - 1))
    assert (dcl >= bound - 2 / tau - 1e-9).all()
    assert (dcl <= bound + 2 / tau + 1e-9).all()


def test_gradient_of_an_anchor_is_scaled_by_q():
    z1, z2 = pair()
    z1.requires_grad_()
    z2.requires_grad_()
    q = npc_multiplier(z1, z2, 0.3).detach()
    dcl = dcl_loss(z1, z2, temperature=0.3, reduction="none")
    nt_xent = nt_xent_loss(z1, z2, temperature=0.3, reduction="none")
    for k, i in ((0, 0), (1, 3)):
        a = torch.autograd.grad(nt_xent[k, i], (z1, z2), retain_graph=True)
        b = torch.autograd.grad(dcl[k, i], (z1, z2), retain_graph=True)
        assert all(torch.allclose(x, q[k, i] * y, atol=1e-10) for x, y in zip(a, b))


def test_equal_vectors_and_symmetry():
    same = torch.ones(5, 3, dtype=torch.float64)
    for tau in (0.1, 2.0):
        assert dcl_loss(same, same, temperature=tau).item() == pytest.approx(math.log(8))
    z1, z2 = pair()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    for a, b in ((z2, z1), (z1[order], z2[order]), (3 * z1, z2)):
        assert torch.allclose(dcl_loss(a, b), dcl_loss(z1, z2))
        assert torch.allclose(dclw_loss(a, b), dclw_loss(z1, z2))


def test_weights():
    z1, z2 = pair()
    w = von_mises_fisher_weights(z1, z2, 0.2)
    assert w.mean().item() == pytest.approx(1)
    cosine = (normalize(z1, dim=1) * normalize(z2, dim=1)).sum(1)
    want = 2 - (cosine / 0.2).exp() / (cosine / 0.2).exp().mean()
    assert torch.allclose(w, want)
    assert torch.allclose(dclw_loss(z1, z2, sigma=1e9), dcl_loss(z1, z2), atol=1e-6)
    each = dclw_loss(z1, z2, temperature=0.3, sigma=0.2, reduction="none")
    plain = dcl_loss(z1, z2, temperature=0.3, reduction="none")
    assert torch.allclose(each - plain, ((1 - w) * cosine / 0.3).expand(2, -1))


def test_detached_weights_change_the_gradient_only():
    z1, z2 = pair()
    z1.requires_grad_()
    a, b = (dclw_loss(z1, z2, detach_weights=flag) for flag in (True, False))
    assert torch.allclose(a, b)
    (ga,), (gb,) = torch.autograd.grad(a, z1), torch.autograd.grad(b, z1)
    assert not torch.allclose(ga, gb, atol=1e-4)
    assert torch.autograd.gradcheck(lambda x: dclw_loss(x, z2, detach_weights=False), (z1,))
    assert torch.autograd.gradcheck(lambda x: dcl_loss(x, z2), (z1,))


def test_equal_ids_are_not_negatives():
    z1, z2 = pair(4)
    doubled = torch.cat([z1, z1[:1]]), torch.cat([z2, z2[:1]])
    ids = torch.tensor([0, 1, 2, 3, 0])
    each = dcl_loss(*doubled, instance_ids=ids, reduction="none")
    # Instance 0 sees the negatives that it sees without its copy.
    assert torch.allclose(each[:, 0], dcl_loss(z1, z2, reduction="none")[:, 0])
    assert torch.allclose(each[:, 0], each[:, 4])


def test_modules():
    z1, z2 = pair()
    assert torch.equal(DCLLoss(0.2)(z1, z2), dcl_loss(z1, z2, temperature=0.2))
    assert torch.equal(DCLWLoss(0.2, 0.4)(z1, z2), dclw_loss(z1, z2, temperature=0.2, sigma=0.4))


def test_queue_and_neighbour_forms():
    z1, z2 = pair()
    queue = normalize(torch.randn(4, 20, dtype=torch.float64), dim=0)
    dcl, moco = (f(z1[:1], z2[:1], queue, temperature=0.3) for f in (moco_dcl_loss, moco_loss))
    assert torch.allclose(moco, softplus(dcl))
    u, v = normalize(z1, dim=1), normalize(z2, dim=1)
    logits = u @ v.T / 0.3
    masked = logits.masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf)
    want = (masked.logsumexp(1) - logits.diagonal()).mean()
    assert torch.allclose(nnclr_dcl_loss(z1, z2, temperature=0.3), want)
    assert nnclr_dcl_loss(z1, z2, temperature=0.3) < nnclr_loss(z1, z2, temperature=0.3)


@pytest.mark.parametrize(
    ("n", "options"),
    [(1, {}), (3, {"temperature": -1.0}), (3, {"negatives": "all"}), (3, {"reduction": "max"})],
)
def test_bad_input(n, options):
    with pytest.raises((ValueError, TypeError)):
        dcl_loss(torch.ones(n, 2), torch.ones(n, 2), **options)


def test_bad_sigma():
    with pytest.raises(ValueError, match="sigma"):
        dclw_loss(torch.ones(3, 2), torch.ones(3, 2), sigma=0.0)
