"""NT-Xent and its multi-positive form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from tacit.losses import multi_positive_nt_xent_loss, nt_xent, nt_xent_loss


def pair(n=7, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, d, generator=g, dtype=torch.float64).unbind()


def reference(z1, z2, tau):
    u = normalize(torch.cat([z1, z2]), dim=1)
    logits = u @ u.T / tau
    logits.fill_diagonal_(-torch.inf)
    n = len(z1)
    target = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return cross_entropy(logits, target)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.floats(0.05, 5))
def test_is_cross_entropy_over_the_batch(n, d, tau):
    z1, z2 = pair(n, d)
    want = reference(z1, z2, tau)
    assert nt_xent_loss(z1, z2, temperature=tau).item() == pytest.approx(want.item(), abs=1e-9)


def test_without_normalisation():
    z1, z2 = pair()
    u1, u2 = normalize(z1, dim=1), normalize(z2, dim=1)
    unit = nt_xent_loss(u1, u2, temperature=0.3, normalize=False)
    assert torch.allclose(unit, nt_xent_loss(z1, z2, temperature=0.3))
    # vectors longer by a factor are a temperature lower by its square
    longer = nt_xent_loss(3 * u1, 3 * u2, temperature=0.9, normalize=False)
    assert torch.allclose(longer, nt_xent_loss(z1, z2, temperature=0.1))


def test_worked_example_and_limits():
    eye = torch.eye(2, dtype=torch.float64)
    assert nt_xent_loss(eye, eye, temperature=0.5).item() == pytest.approx(0.239545, abs=1e-6)
    same = torch.ones(6, 3, dtype=torch.float64)
    for tau in (0.1, 1.0):
        assert nt_xent_loss(same, same, temperature=tau).item() == pytest.approx(math.log(11))
    z1, z2 = pair(6)
    assert nt_xent_loss(z1, z2, temperature=1e9).item() == pytest.approx(math.log(11))


def test_symmetries():
    z1, z2 = pair()
    loss = nt_xent_loss(z1, z2)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    scale = torch.linspace(0.1, 3, 7, dtype=torch.float64)[:, None]
    for a, b in (
        (z2, z1),
        (z1[order], z2[order]),
        (z1 @ rotation, z2 @ rotation),
        (scale * z1, z2),
    ):
        assert torch.allclose(nt_xent_loss(a, b), loss, atol=1e-12)
    assert not torch.allclose(nt_xent_loss(z1, z2[order]), loss, atol=1e-3)


def test_reductions_and_gradient():
    z1, z2 = pair()
    each = nt_xent_loss(z1, z2, reduction="none")
    assert each.shape == (2, 7)
    assert torch.allclose(each.mean(), nt_xent_loss(z1, z2))
    assert torch.allclose(each.sum(), nt_xent_loss(z1, z2, reduction="sum"))
    z1.requires_grad_()
    z2.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_loss(a, b, temperature=0.5), (z1, z2))


def test_autocast_does_not_lower_the_precision():
    z1, z2 = (z.float() for z in pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent_loss(z1, z2)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent_loss(z1, z2))


@pytest.mark.parametrize("positives", ["inside", "outside"])
def test_two_views_are_nt_xent(positives):
    z1, z2 = pair()
    got = multi_positive_nt_xent_loss([z1, z2], temperature=0.3, positives=positives)
    assert torch.allclose(got, nt_xent_loss(z1, z2, temperature=0.3), atol=1e-12)


@pytest.mark.parametrize("positives", ["inside", "outside"])
def test_multi_positive_against_loops(positives):
    g = torch.Generator().manual_seed(3)
    z = torch.randn(9, 4, generator=g, dtype=torch.float64)
    ids = torch.tensor([0, 1, 2, 0, 1, 2, 0, 2, 1])
    s = (normalize(z, dim=1) @ normalize(z, dim=1).T / 0.5).exp()
    total = 0.0
    for a in range(9):
        others = [b for b in range(9) if b != a]
        denominator = sum(s[a, b] for b in others)
        p = [s[a, b] / denominator for b in others if ids[a] == ids[b]]
        total += -sum(p).log() if positives == "inside" else -sum(x.log() for x in p) / len(p)
    got = multi_positive_nt_xent_loss(z, ids, temperature=0.5, positives=positives)
    assert got.item() == pytest.approx((total / 9).item(), abs=1e-9)


def test_views_and_rows_agree():
    g = torch.Generator().manual_seed(3)
    z = torch.randn(4, 5, 6, generator=g, dtype=torch.float64)
    by_view = multi_positive_nt_xent_loss(z)
    by_list = multi_positive_nt_xent_loss(list(z))
    by_row = multi_positive_nt_xent_loss(z.flatten(0, 1), torch.arange(5).repeat(4))
    assert torch.allclose(by_view, by_list)
    assert torch.allclose(by_view, by_row)


@pytest.mark.parametrize(
    ("z1", "z2", "options"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), {}),
        (torch.ones(3, 2), torch.ones(3, 2), {"temperature": 0.0}),
        (torch.full((3, 2), float("nan")), torch.ones(3, 2), {}),
        (torch.ones(3, 2), torch.ones(3, 2), {"reduction": "max"}),
    ],
)
def test_bad_input(z1, z2, options):
    with pytest.raises((ValueError, TypeError)):
        nt_xent_loss(z1, z2, **options)


def test_zero_rows_warn():
    with pytest.warns(RuntimeWarning, match="exactly zero"):
        nt_xent_loss(torch.zeros(2, 3), torch.ones(2, 3))


def test_multi_positive_bad_input():
    with pytest.raises(ValueError, match="single embedding"):
        multi_positive_nt_xent_loss(torch.ones(3, 2), torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="no negatives"):
        multi_positive_nt_xent_loss(torch.ones(2, 1, 2))
    with pytest.raises(ValueError, match="instance_ids"):
        multi_positive_nt_xent_loss(torch.ones(3, 2))


def test_nt_xent_chooses_its_negatives() -> None:
    g = torch.Generator().manual_seed(5)
    z1, z2 = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    assert torch.equal(nt_xent(z1, z2, 0.2), nt_xent_loss(z1, z2, temperature=0.2))
    u1, u2 = (z / z.norm(dim=1, keepdim=True) for z in (z1, z2))
    logits = u1 @ u2.T / 0.2
    target = torch.arange(5)
    two_ways = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(nt_xent(z1, z2, 0.2, negatives="cross"), two_ways)
    assert nt_xent(z1, z2, 0.2, "cross") < nt_xent(z1, z2, 0.2)


@pytest.mark.parametrize("negatives", ["both", "cross"])
def test_nt_xent_closed_forms_and_invariances(negatives: str) -> None:
    eye = torch.eye(2, dtype=torch.float64)
    others = {"both": 2, "cross": 1}[negatives]
    expected = math.log(1 + others * math.exp(-1 / 0.3))
    assert float(nt_xent(eye, eye, 0.3, negatives)) == pytest.approx(expected, abs=1e-12)
    assert float(nt_xent(eye[:1], eye[1:], 0.3, negatives)) == pytest.approx(0, abs=1e-12)
    g = torch.Generator().manual_seed(6)
    z1, z2 = (torch.randn(6, 4, generator=g, dtype=torch.float64) for _ in range(2))
    value = nt_xent(z1, z2, 0.3, negatives)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64)).Q
    scale = torch.rand(6, 1, generator=g, dtype=torch.float64) + 0.1
    torch.testing.assert_close(nt_xent(z2, z1, 0.3, negatives), value)
    torch.testing.assert_close(nt_xent(z1 @ rotation, z2 @ rotation, 0.3, negatives), value)
    torch.testing.assert_close(nt_xent(z1 * scale, z2, 0.3, negatives), value)
    with pytest.raises(ValueError, match="'both' or 'cross'"):
        nt_xent(z1, z2, 0.3, "neither")
