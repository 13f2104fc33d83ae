"""Contrastive attraction and repulsion between the views of a batch."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tacit.losses import cacr_attraction, cacr_loss, cacr_repulsion
from tacit.losses._distances import (
    expected_squared_distance,
    logsumexp_squared_distance,
    squared_distances,
)

EXACT = {"rel": 1e-9, "abs": 1e-9}


def unit(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


def cost(a, b):
    return (a[:, None] - b[None]).square().sum(-1)


def plain_attraction(z, t_pos, alpha=1.0):
    terms = []
    for x in range(len(z)):
        others = torch.stack([z[y] for y in range(len(z)) if y != x])
        c = (z[x] - others).square().sum(-1).T
        terms.append((torch.softmax(t_pos * c, 1) * c).sum(1).mean())
    return alpha * torch.stack(terms).mean()


def negatives(a, b):
    n = len(a)
    return cost(a, b)[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)


def plain_repulsion(z, t_neg, beta=1.0):
    terms = []
    for x, y in combinations(range(len(z)), 2):
        c = negatives(z[x], z[y])
        terms.append(-(torch.softmax(-t_neg * c, 1) * c).sum(1).mean())
    return beta * torch.stack(terms).mean()


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 7, 4), (5, 12, 6)])
@pytest.mark.parametrize("t", [0.0, 0.9, 5.0])
def test_equals_the_plain_sums(shape, t):
    z = unit(*shape)
    assert cacr_attraction(z, t_pos=t, alpha=1.5) == pytest.approx(
        float(plain_attraction(z, t, 1.5)), **EXACT
    )
    assert cacr_repulsion(z, t_neg=t, beta=2.5) == pytest.approx(
        float(plain_repulsion(z, t, 2.5)), **EXACT
    )
    out = cacr_loss(list(z), t_pos=t, t_neg=t, alpha=1.5, beta=2.5)
    assert float(out.loss) == pytest.approx(float(out.attraction + out.repulsion), **EXACT)
    assert float(out.attraction) == pytest.approx(float(plain_attraction(z, t, 1.5)), **EXACT)
    assert float(out.repulsion) == pytest.approx(float(plain_repulsion(z, t, 2.5)), **EXACT)


@pytest.mark.parametrize("t", [0.0, 0.9, 7.0])
def test_worked_example(t):
    eye = torch.eye(2, dtype=torch.float64)
    same = cacr_loss([eye, eye], t_pos=t, t_neg=t, beta=1.5)
    assert float(same.attraction) == pytest.approx(0.0, **EXACT)
    assert float(same.repulsion) == pytest.approx(-2 * 1.5, **EXACT)
    swapped = cacr_loss([eye, eye.flip(0)], t_pos=t, t_neg=t, alpha=0.7)
    assert float(swapped.attraction) == pytest.approx(2 * 0.7, **EXACT)
    assert float(swapped.repulsion) == pytest.approx(0.0, **EXACT)


def test_one_positive_and_one_negative_ignore_the_temperatures():
    z = unit(2, 2, 3)
    pair = (z[0] - z[1]).square().sum(1).mean()
    single = negatives(z[0], z[1]).mean()
    for t in (0.0, 1.0, 30.0):
        assert float(cacr_attraction(z, t_pos=t)) == pytest.approx(float(pair), **EXACT)
        assert float(cacr_repulsion(z, t_neg=t)) == pytest.approx(-float(single), **EXACT)


def test_limits_of_the_temperatures():
    z = unit(4, 6, 3)
    farthest, nearest = [], []
    for x in range(4):
        others = torch.stack([z[y] for y in range(4) if y != x])
        farthest.append((z[x] - others).square().sum(-1).amax(0).mean())
    for x, y in combinations(range(4), 2):
        nearest.append(negatives(z[x], z[y]).amin(1).mean())
    sharp = cacr_loss(z, t_pos=1e5, t_neg=1e5)
    assert float(sharp.attraction) == pytest.approx(float(torch.stack(farthest).mean()), abs=1e-4)
    assert float(sharp.repulsion) == pytest.approx(-float(torch.stack(nearest).mean()), abs=1e-4)
    flat = cacr_loss(z, choice="none", t_pos=3.0, t_neg=3.0)
    zero = cacr_loss(z, t_pos=0.0, t_neg=0.0)
    assert float(flat.loss) == pytest.approx(float(zero.loss), **EXACT)
    assert float(cacr_loss(z, choice="without_w1", t_pos=3.0).attraction) == pytest.approx(
        float(zero.attraction), **EXACT
    )
    assert float(cacr_loss(z, choice="without_w2", t_neg=3.0).repulsion) == pytest.approx(
        float(zero.repulsion), **EXACT
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(2, 9), st.integers(2, 5), st.integers(0, 1000))
def test_bounds_monotone_and_invariant(views, count, dim, seed):
    z = unit(views, count, dim, seed=seed)
    attractions = [float(cacr_attraction(z, t_pos=t, alpha=2.0)) for t in (0, 0.5, 1, 4)]
    repulsions = [float(cacr_repulsion(z, t_neg=t, beta=2.0)) for t in (0, 0.5, 1, 4)]
    assert attractions == sorted(attractions) or max(attractions) - min(attractions) < 1e-12
    assert repulsions == sorted(repulsions) or max(repulsions) - min(repulsions) < 1e-12
    assert attractions[0] >= -1e-12
    assert attractions[-1] <= 8 + 1e-12
    assert repulsions[0] >= -8 - 1e-12
    assert repulsions[-1] <= 1e-12

    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    order = torch.randperm(count, generator=g)
    base = float(cacr_loss(z).loss)
    assert float(cacr_loss(z @ rotation).loss) == pytest.approx(base, abs=1e-9)
    assert float(cacr_loss(z[:, order]).loss) == pytest.approx(base, abs=1e-9)
    shuffled = z[torch.randperm(views, generator=g)]
    assert float(cacr_attraction(shuffled)) == pytest.approx(float(cacr_attraction(z)), abs=1e-9)
    assert float(cacr_repulsion(shuffled, symmetric=True)) == pytest.approx(
        float(cacr_repulsion(z, symmetric=True)), abs=1e-9
    )


def test_order_of_views_matters_unless_symmetric():
    z = unit(2, 6, 3)
    forward, backward = cacr_repulsion(z), cacr_repulsion(z.flip(0))
    assert abs(float(forward - backward)) > 1e-3
    # The reversed order has the transposed costs.
    c = cost(z[0], z[1]).T[~torch.eye(6, dtype=torch.bool)].view(6, 5)
    assert float(backward) == pytest.approx(
        -float((torch.softmax(-c, 1) * c).sum(1).mean()), **EXACT
    )
    assert float(cacr_repulsion(z, symmetric=True)) == pytest.approx(
        float(forward + backward) / 2, **EXACT
    )


def test_equal_embeddings_are_a_stationary_point():
    z = unit(1, 1, 4).expand(3, 5, 4).clone().requires_grad_()
    out = cacr_loss(z)
    assert float(out.attraction) == pytest.approx(0.0, abs=1e-12)
    assert float(out.repulsion) == pytest.approx(0.0, abs=1e-12)
    (grad,) = torch.autograd.grad(out.loss, z)
    assert float(grad.abs().max()) < 1e-12


def test_attraction_gradient_with_detached_weights():
    z = unit(3, 5, 4).requires_grad_()
    (grad,) = torch.autograd.grad(cacr_attraction(z, t_pos=2.0, alpha=1.5, detach_weights=True), z)
    d = z.detach()
    expected = torch.zeros_like(d)
    for x in range(3):
        others = [y for y in range(3) if y != x]
        c = torch.stack([(d[x] - d[y]).square().sum(1) for y in others], 1)
        w = torch.softmax(2.0 * c, 1)
        for k, y in enumerate(others):
            step = 2 * 1.5 * w[:, k, None] * (d[x] - d[y]) / (3 * 5)
            expected[x] += step
            expected[y] -= step
    assert torch.allclose(grad, expected, atol=1e-12)
    (live,) = torch.autograd.grad(cacr_attraction(z, t_pos=2.0, alpha=1.5), z)
    assert float((live - grad).abs().max()) > 1e-3


@pytest.mark.parametrize("detach", [False, True])
def test_repulsion_gradient(detach):
    z = unit(3, 6, 4)
    mine, ref = z.clone().requires_grad_(), z.clone().requires_grad_()
    (got,) = torch.autograd.grad(cacr_repulsion(mine, t_neg=2.0, detach_weights=detach), mine)
    terms = []
    for x, y in combinations(range(3), 2):
        c = negatives(ref[x], ref[y])
        w = torch.softmax(-2.0 * c, 1)
        terms.append(-((w.detach() if detach else w) * c).sum(1).mean())
    (want,) = torch.autograd.grad(torch.stack(terms).mean(), ref)
    assert torch.allclose(got, want, atol=1e-10)


@pytest.mark.parametrize("detach", [False, True])
def test_rbf_cost(detach):
    z = unit(3, 6, 4)
    mine, ref = z.clone().requires_grad_(), z.clone().requires_grad_()
    value = cacr_repulsion(mine, t_neg=0.9, beta=1.5, cost="rbf", rbf_t=3.0, detach_weights=detach)
    terms = []
    for x, y in combinations(range(3), 2):
        c = negatives(ref[x], ref[y])
        w = torch.softmax(-0.9 * c, 1)
        terms.append(((w.detach() if detach else w) * (-3.0 * c).exp()).sum(1).mean().log() * 1.5)
    expected = torch.stack(terms).mean()
    assert float(value) == pytest.approx(float(expected), **EXACT)
    (got,) = torch.autograd.grad(value, mine)
    (want,) = torch.autograd.grad(expected, ref)
    assert torch.allclose(got, want, atol=1e-10)


def test_debiased_forms():
    z = unit(2, 6, 3)
    positive = (z[0] - z[1]).square().sum(1)
    c = negatives(z[0], z[1])
    expectation = (torch.softmax(-0.9 * c, 1) * c).sum(1)
    released = ((-0.1 * positive - 2.0 * expectation) / 0.9).mean()
    corrected = (2.0 * (0.1 * positive - expectation) / 0.9).mean()
    options = {"t_neg": 0.9, "beta": 2.0, "tau_plus": 0.1}
    assert float(cacr_repulsion(z, **options)) == pytest.approx(float(released), **EXACT)
    assert float(cacr_repulsion(z, debias="corrected", **options)) == pytest.approx(
        float(corrected), **EXACT
    )
    assert float(cacr_repulsion(z, tau_plus=0.0)) == pytest.approx(
        float(cacr_repulsion(z)), **EXACT
    )


def test_weights():
    z = unit(3, 6, 4).requires_grad_()
    out = cacr_loss(z, t_pos=1.5, t_neg=0.9)
    assert out.w_pos.shape == (3, 6, 2)
    assert out.w_neg.shape == (3, 6, 5)
    assert not out.w_pos.requires_grad
    assert not out.w_neg.requires_grad
    for weights in (out.w_pos, out.w_neg):
        assert torch.allclose(weights.sum(-1), torch.ones(3, 6, dtype=torch.float64), atol=1e-12)
    # pairs in the order (0, 1), (0, 2), (1, 2)
    want = torch.softmax(-0.9 * negatives(z[1].detach(), z[2].detach()), 1)
    assert torch.allclose(out.w_neg[2], want, atol=1e-12)
    assert cacr_loss(z, symmetric=True).w_neg.shape == (6, 6, 5)
    assert cacr_loss(z, return_weights=False).w_neg is None


def test_negative_weights_sharpen_with_the_temperature():
    z = unit(2, 20, 4)
    entropies = []
    for t in (0.0, 0.5, 2.0, 8.0):
        w = cacr_loss(z, t_neg=t).w_neg
        entropies.append(float(-(w * w.log()).sum(-1).mean()))
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[0] == pytest.approx(math.log(19), **EXACT)
    assert entropies[-1] < entropies[0] - 0.5


def test_zero_scale_drops_a_term():
    z = unit(3, 5, 4).requires_grad_()
    out = cacr_loss(z, alpha=0.0, beta=0.0)
    (grad,) = torch.autograd.grad(out.loss, z)
    assert float(out.loss) == 0
    assert float(grad.abs().max()) == 0
    assert float(cacr_loss(z, alpha=0.0).loss) == pytest.approx(float(cacr_repulsion(z)), **EXACT)


def test_gradcheck():
    z = unit(3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: cacr_loss(v, t_pos=1.3, t_neg=0.9).loss, z)
    assert torch.autograd.gradcheck(lambda v: cacr_repulsion(v, cost="rbf"), z)
    assert torch.autograd.gradcheck(
        lambda v: cacr_repulsion(v, tau_plus=0.1, debias="corrected", symmetric=True), z
    )


def test_half_precision_is_computed_in_float32():
    z = unit(3, 8, 6).to(torch.bfloat16)
    out = cacr_loss(z)
    assert out.loss.dtype == torch.float32
    assert float(out.loss) == pytest.approx(float(cacr_loss(z.float()).loss), abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cacr_loss(z.float())
    assert inside.loss.dtype == torch.float32
    assert float(inside.loss) == pytest.approx(float(out.loss), abs=1e-6)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("t", [0.0, 0.9, 5.0])
def test_tiled_expectation_equals_the_dense_form(t, detach):
    x, y = unit(23, 4).requires_grad_(), unit(31, 4, seed=1).requires_grad_()
    own = torch.arange(23)
    weight = torch.linspace(-1, 1, 23, dtype=torch.float64)
    c = squared_distances(x, y).masked_fill(own[:, None] == torch.arange(31), torch.inf)
    w = torch.softmax(-t * torch.nan_to_num(c, posinf=1e4), 1) if t else torch.isfinite(c) / 30.0
    w = w.detach() if detach else w
    dense = (w * c.masked_fill(torch.isinf(c), 0)).sum(1)
    tiled = expected_squared_distance(
        x, y, t, self_index=own, detach_weights=detach, memory_limit=400
    )
    assert torch.allclose(tiled, dense, atol=1e-10)
    got = torch.autograd.grad((tiled * weight).sum(), (x, y))
    want = torch.autograd.grad((dense * weight).sum(), (x, y))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(got, want))
    lse = logsumexp_squared_distance(x, y, 2.0, self_index=own, memory_limit=400)
    assert torch.allclose(lse, torch.logsumexp(-2.0 * c, 1), atol=1e-10)


def test_tiled_expectation_gradcheck():
    x, y = unit(5, 3).requires_grad_(), unit(6, 3, seed=1).requires_grad_()
    own = torch.arange(5)

    def tiled(a, b):
        return expected_squared_distance(a, b, 1.7, self_index=own, memory_limit=200)

    assert torch.autograd.gradcheck(tiled, (x, y))


def smallest_distance(t_neg, seed):
    g = torch.Generator().manual_seed(seed)
    free = torch.randn(16, 3, generator=g, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(300):
        z = normalize(free, dim=1)
        optimiser.zero_grad()
        cacr_repulsion([z, z], t_neg=t_neg).backward()
        optimiser.step()
        with torch.no_grad():
            free.copy_(normalize(free, dim=1))
    z = free.detach()
    return float(torch.pdist(z).min()), float(torch.linalg.svdvals(z)[-1])


@pytest.mark.parametrize(("seed", "temperatures"), [(0, (0.5, 2.0)), (1, (0.9, 5.0))])
def test_only_weighted_repulsion_spreads_points_evenly(seed, temperatures):
    clumped, _ = smallest_distance(0.0, seed)
    assert clumped < 0.5
    for t_neg in temperatures:
        spread, singular = smallest_distance(t_neg, seed)
        assert spread > 0.75
        if t_neg < 5:
            assert singular == pytest.approx(math.sqrt(16 / 3), abs=0.02)


@pytest.mark.parametrize(
    "call",
    [
        lambda z: cacr_loss(z[:1]),
        lambda z: cacr_loss([]),
        lambda z: cacr_loss(z[:, :1]),
        lambda z: cacr_loss(z[0]),
        lambda z: cacr_loss([z[0], z[1][:3]]),
        lambda z: cacr_loss(z, t_pos=-1.0),
        lambda z: cacr_loss(z, t_neg=-1.0),
        lambda z: cacr_loss(z, alpha=-1.0),
        lambda z: cacr_repulsion(z, beta=-1.0),
        lambda z: cacr_attraction(z, alpha=math.nan),
        lambda z: cacr_loss(z, choice="w1"),
        lambda z: cacr_attraction(z, cost="rbf"),
        lambda z: cacr_repulsion(z, cost="cosine"),
        lambda z: cacr_repulsion(z, cost="rbf", rbf_t=0.0),
        lambda z: cacr_repulsion(z, cost="rbf", tau_plus=0.1),
        lambda z: cacr_repulsion(z, tau_plus=1.0),
        lambda z: cacr_repulsion(z, tau_plus=0.1, debias="no"),
        lambda z: cacr_loss(3 * z, assume_normalized=True),
        lambda z: cacr_attraction(z * math.nan),
    ],
)
def test_bad_inputs(call):
    with pytest.raises(ValueError):
        call(unit(3, 5, 4))
