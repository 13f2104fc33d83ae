"""Contrastive losses over any number of views."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from tacit.losses import (
    _views,
    average_view_aggregate,
    cl1_loss,
    cl2_loss,
    dhel_loss,
    multi_positive_nt_xent_loss,
    mv_dhel_loss,
    mv_infonce_loss,
    pairwise_aggregate,
    pvc_loss,
)
from tacit.losses.multiview import _energies

EXACT = {"rel": 1e-9, "abs": 1e-9}
MULTI_POSITIVE = partial(multi_positive_nt_xent_loss, positives="outside")
LOSSES = [
    mv_infonce_loss,
    partial(mv_infonce_loss, variant="paper"),
    mv_dhel_loss,
    partial(mv_dhel_loss, variant="paper"),
    MULTI_POSITIVE,
    cl1_loss,
    cl2_loss,
    pvc_loss,
    partial(pvc_loss, method="arithmetic"),
]


def randn(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def nt_xent(a, b, tau):
    """Two-view NT-Xent as a cross-entropy over the full similarity matrix."""
    z = normalize(torch.cat([a, b]), dim=1)
    n = len(a)
    logits = (z @ z.T / tau).fill_diagonal_(-torch.inf)
    return cross_entropy(logits, torch.arange(2 * n).roll(n))


def sums(z, tau):
    """Everything that the losses are made of, by loops: e[l][i][m][j]."""
    u = normalize(z, dim=-1)
    return torch.einsum("lid,mjd->limj", u, u).div(tau).exp()


def plain(z, tau):
    """Each loss written out over explicit index sets."""
    e = sums(z, tau)
    V, M = z.shape[:2]
    R, out = range, {}
    same = lambda i: [e[a, i, b, i] for a in R(V) for b in R(V) if a != b]  # noqa: E731
    others = lambda a, i: e[a, i].sum() - e[a, i, a, i]  # noqa: E731
    cross = lambda a, i: sum(e[a, i, b].sum() for b in R(V) if b != a)  # noqa: E731
    energy = lambda a, i: e[a, i, a].sum() - e[a, i, a, i]  # noqa: E731
    anchor = lambda a, i: sum(e[a, i, b, i] for b in R(V) if b != a)  # noqa: E731

    def prob(a, b, i):
        rest = sum(e[a, i, m, j] for m in R(V) for j in R(M) if j != i)
        return e[a, i, b, i] / (e[a, i, b, i] + rest)

    def mean(values):
        return float(torch.stack(list(values)).mean())

    out["mv_infonce"] = mean((sum(others(a, i) for a in R(V)) / sum(same(i))).log() for i in R(M))
    out["mv_infonce paper"] = mean(
        (sum(cross(a, i) for a in R(V)) / sum(same(i))).log() for i in R(M)
    )
    out["mv_dhel"] = mean(
        sum(energy(a, i).log() for a in R(V)) - (sum(same(i)) / 2).log() for i in R(M)
    )
    out["mv_dhel paper"] = mean(
        sum(e[a, i, a].sum().log() for a in R(V)) - sum(same(i)).log() for i in R(M)
    )
    out["multi_positive"] = mean(
        (others(a, i) / e[a, i, b, i]).log() for i in R(M) for a in R(V) for b in R(V) if b != a
    )
    out["cl1"] = mean((cross(a, i) / anchor(a, i)).log() for a in R(V) for i in R(M))
    out["cl2"] = mean(
        sum(energy(m, i).log() for m in R(V)) - anchor(a, i).log() for a in R(V) for i in R(M)
    )
    out["pvc"] = mean(-prob(a, b, i).log() for i in R(M) for a in R(V) for b in R(V) if b != a)
    out["pvc arithmetic"] = mean(
        -(sum(prob(a, b, i) for b in R(V) if b != a) / (V - 1)).log() for i in R(M) for a in R(V)
    )
    return list(out.values())


@pytest.mark.parametrize(("views", "count"), [(2, 2), (2, 5), (3, 4), (4, 6)])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_equal_the_written_out_sums(views, count, tau):
    z = randn(views, count, 5)
    expected = plain(z, tau)
    for loss, want in zip(LOSSES, expected):
        assert float(loss(z, temperature=tau)) == pytest.approx(want, **EXACT)
        assert float(loss(list(z), temperature=tau)) == pytest.approx(want, **EXACT)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
def test_worked_example(tau):
    eye = torch.eye(2, dtype=torch.float64)
    views = [eye, eye]
    ntxent = math.log(1 + 2 * math.exp(-1 / tau))
    assert float(mv_dhel_loss(views, temperature=tau)) == pytest.approx(-1 / tau, **EXACT)
    assert float(mv_infonce_loss(views, temperature=tau)) == pytest.approx(ntxent, **EXACT)
    assert float(nt_xent(eye, eye, tau)) == pytest.approx(ntxent, **EXACT)


@pytest.mark.parametrize(("V", "M"), [(2, 2), (3, 5), (8, 4)])
def test_all_embeddings_equal(V, M):
    z = torch.ones(V, M, 4, dtype=torch.float64)
    tau = 0.3
    assert float(mv_infonce_loss(z, temperature=tau)) == pytest.approx(
        math.log((V * M - 1) / (V - 1)), **EXACT
    )
    expected = -math.log(V * (V - 1) / 2) - 1 / tau + V * (math.log(M - 1) + 1 / tau)
    assert float(mv_dhel_loss(z, temperature=tau)) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("tau", [0.2, 0.5])
def test_two_views(tau):
    z = randn(2, 7, 5)
    ntxent = float(nt_xent(z[0], z[1], tau))
    for loss in (pvc_loss, partial(pvc_loss, method="arithmetic"), MULTI_POSITIVE):
        assert float(loss(z, temperature=tau)) == pytest.approx(ntxent, **EXACT)
    assert abs(float(mv_infonce_loss(z, temperature=tau)) - ntxent) > 1e-4
    dhel = float(dhel_loss(z[0], z[1], temperature=tau))
    for loss in (mv_dhel_loss, cl2_loss):
        assert float(loss(z, temperature=tau)) == pytest.approx(dhel, **EXACT)


@pytest.mark.parametrize("include_augs", [True, False])
def test_dhel(include_augs):
    z = randn(2, 6, 4)
    e = sums(z, 0.3)
    total = 0.0
    for i in range(6):
        term = e[0, i, 1, i] / (e[0, i, 0].sum() - e[0, i, 0, i])
        if include_augs:
            term = term / (e[1, i, 1].sum() - e[1, i, 1, i])
        total -= float(term.log()) / 6
    got = dhel_loss(z[0], z[1], include_augs=include_augs)
    assert float(got) == pytest.approx(total, **EXACT)


def test_variants_of_mv_dhel():
    z = randn(3, 6, 4)
    u = normalize(z, dim=-1)
    energy = sum((u[a] @ u[a].T / 0.5).exp().sum(1).log().mean() for a in range(3))
    code = mv_dhel_loss(z)
    own = _energies(u, 0.5).sum(0).mean()
    paper = mv_dhel_loss(z, variant="paper")
    # numerators differ by log 2, energies by the diagonal
    assert float(paper - energy) == pytest.approx(float(code - own) - math.log(2), **EXACT)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4), st.integers(2, 7), st.integers(2, 5), st.integers(0, 1000))
def test_invariances(views, count, dim, seed):
    z = randn(views, count, dim, seed=seed)
    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    view_order = torch.randperm(views, generator=g)
    order = torch.randperm(count, generator=g)
    scale = torch.rand(views, count, 1, generator=g, dtype=torch.float64) + 0.5
    for loss in LOSSES:
        base = float(loss(z))
        for changed in (z @ rotation, z[view_order], z[:, order], z * scale):
            assert float(loss(changed)) == pytest.approx(base, abs=1e-8)
    assert float(mv_infonce_loss(z)) >= 0


def test_energies_do_not_couple_views():
    z = normalize(randn(3, 6, 4), dim=-1).requires_grad_()
    (grad,) = torch.autograd.grad(_energies(z, 0.5)[1].sum(), z)
    assert float(grad[[0, 2]].abs().max()) == 0
    assert float(grad[1].abs().max()) > 1e-3
    rotations = torch.linalg.qr(randn(3, 4, 4)).Q
    assert torch.allclose(_energies(z @ rotations, 0.5), _energies(z, 0.5), atol=1e-10)
    assert abs(float(mv_dhel_loss(z @ rotations) - mv_dhel_loss(z))) > 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss):
    z = randn(3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(v, temperature=0.7), z)


@pytest.mark.parametrize("loss", LOSSES)
def test_small_temperature_and_many_collapsed_views_stay_finite(loss):
    base = randn(1, 1, 16, seed=3).float()
    z = (base + 1e-3 * randn(8, 12, 16).float()).requires_grad_()
    value = loss(z, temperature=0.01)
    (grad,) = torch.autograd.grad(value, z)
    assert math.isfinite(float(value))
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss):
    z = randn(3, 6, 8).to(torch.bfloat16)
    value = loss(z)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(z.float())), abs=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(z.float())) == pytest.approx(float(value), abs=1e-5)


def test_pairwise_aggregate():
    z = randn(4, 5, 3)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    want = sum(float(nt_xent(z[a], z[b], 0.5)) for a, b in pairs) / 6
    got = pairwise_aggregate(partial(nt_xent, tau=0.5), list(z))
    assert float(got) == pytest.approx(want, **EXACT)
    assert float(pairwise_aggregate(dhel_loss, z[:2])) == pytest.approx(
        float(dhel_loss(z[0], z[1])), **EXACT
    )


def test_average_view_aggregate_passes_the_mean_as_it_is():
    z = randn(3, 5, 4)
    u = normalize(z, dim=-1)
    calls = []

    def record(a, b):
        calls.append((a, b))
        return (a - b).square().sum()

    value = average_view_aggregate(record, z)
    for index, (view, mean) in enumerate(calls):
        rest = [m for m in range(3) if m != index]
        assert torch.allclose(view, u[index], atol=1e-12)
        assert torch.allclose(mean, u[rest].mean(0), atol=1e-12)
    want = sum(float((a - b).square().sum()) for a, b in calls) / 3
    assert float(value) == pytest.approx(want, **EXACT)


def test_gather_keeps_views_apart(monkeypatch):
    z = randn(3, 8, 4)
    ranks = [z[:, :4], z[:, 4:]]
    monkeypatch.setattr(
        _views, "all_gather", lambda x: torch.cat([r.transpose(0, 1) for r in ranks_unit])
    )
    ranks_unit = [normalize(r, dim=-1) for r in ranks]
    for loss in (mv_infonce_loss, mv_dhel_loss):
        assert float(loss(ranks[0], gather=True)) == pytest.approx(float(loss(z)), **EXACT)


def test_large_batch_beyond_the_dense_path():
    z = randn(2, 1600, 4)
    mine, ref = z.clone().requires_grad_(), z.clone().requires_grad_()
    u = normalize(ref, dim=-1)
    eye = torch.eye(1600, dtype=torch.bool)
    energy = sum(torch.logsumexp((v @ v.T / 0.5).masked_fill(eye, -torch.inf), 1) for v in u)
    expected = (energy - (u[0] * u[1]).sum(1) / 0.5).mean()
    value = mv_dhel_loss(mine)
    assert float(value) == pytest.approx(float(expected), abs=1e-10)
    (got,) = torch.autograd.grad(value, mine)
    (want,) = torch.autograd.grad(expected, ref)
    assert torch.allclose(got, want, atol=1e-10)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss is not MULTI_POSITIVE])
def test_bad_inputs(loss):
    z = randn(3, 5, 4)
    for bad in (z[:1], z[:, :1], z[0], [], [z[0], z[1][:3]], [z[0], z[1][:, :2]], z * math.nan):
        with pytest.raises(ValueError):
            loss(bad)
    for tau in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            loss(z, temperature=tau)


def test_bad_names():
    z = randn(3, 5, 4)
    with pytest.raises(ValueError, match="variant"):
        mv_infonce_loss(z, variant="printed")
    with pytest.raises(ValueError, match="variant"):
        mv_dhel_loss(z, variant="printed")
    with pytest.raises(ValueError, match="method"):
        pvc_loss(z, method="mean")
    with pytest.raises(ValueError, match="at least 2 instances"):
        dhel_loss(z[0][:1], z[1][:1])
