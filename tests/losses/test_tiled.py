"""The tiled log-sum-exp equals the plain matrix form, gradients included."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tacit.losses import pairwise_logsumexp, pairwise_logsumexp_both, pairwise_softmax_mean
from tacit.losses import tiled as module
from tacit.losses._mask import Mask
from tacit.losses._tiled_sums import TwoSided
from tacit.losses._tiles import tiles_for

TINY = 400  # bytes: tiles of a few elements
PRECISIONS = [(torch.float32, 1e-6, 1e-5), (torch.float64, 1e-10, 1e-10)]


def make(rows, cols, dim, dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    q = normalize(torch.randn(rows, dim, generator=g, dtype=torch.float64), dim=1).to(dtype)
    k = normalize(torch.randn(cols, dim, generator=g, dtype=torch.float64), dim=1).to(dtype)
    return q.requires_grad_(), k.requires_grad_()


def plain(q, k, scale, excluded=None):
    logits = scale * (q @ k.T)
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    return logits.logsumexp(1), (logits.softmax(1) * (q @ k.T)).sum(1)


def assert_same(got, want, inputs, value_tol, grad_tol):
    """Values, and gradients of a sum with unequal weights, relative to the largest."""
    weight = torch.linspace(-1, 1, len(want), dtype=got.dtype)
    assert (got - want).abs().max() <= value_tol * want.abs().max().clamp_min(1)
    got_grads = torch.autograd.grad((got * weight).sum(), inputs, retain_graph=True)
    want_grads = torch.autograd.grad((want * weight).sum(), inputs, retain_graph=True)
    for a, b in zip(got_grads, want_grads, strict=True):
        assert (a - b).abs().max() <= grad_tol * b.abs().max().clamp_min(1)


def tiles(u, mask, memory_limit):
    return list(tiles_for(u, u, 1.0, mask, memory_limit, symmetric=True).tiles(len(u), len(u)))


@pytest.fixture
def symmetric_calls(monkeypatch):
    """How often half of a symmetric matrix was enough."""
    calls = []
    apply = TwoSided.apply

    def spy(queries, keys, plan):
        calls.append((keys is None, plan.triangular))
        return apply(queries, keys, plan)

    monkeypatch.setattr(module.TwoSided, "apply", spy)
    return calls


@pytest.mark.parametrize(("dtype", "value_tol", "grad_tol"), PRECISIONS)
@pytest.mark.parametrize("scale", [0.5, 2.0, 10.0, 100.0])
def test_matches_plain_form(dtype, value_tol, grad_tol, scale):
    q, k = make(37, 53, 8, dtype)
    ids = torch.arange(37) % 7
    col_ids = torch.arange(53) % 9
    own = torch.arange(37)
    excluded = (ids[:, None] == col_ids) | (own[:, None] == torch.arange(53))
    options = {"row_ids": ids, "col_ids": col_ids, "self_index": own, "memory_limit": TINY}
    for function, which in ((pairwise_logsumexp, 0), (pairwise_softmax_mean, 1)):
        got = function(q, k, scale, **options)
        want = plain(q.double(), k.double(), scale, excluded)[which]
        assert_same(got, want, (q, k), value_tol, grad_tol)


@pytest.mark.parametrize(("dtype", "value_tol", "grad_tol"), PRECISIONS)
@pytest.mark.parametrize("masks", ["own", "views", "instances", "both", "none"])
@pytest.mark.parametrize("views", [2, 3])
def test_half_of_a_symmetric_matrix(dtype, value_tol, grad_tol, masks, views, symmetric_calls):
    u, n = make(17 * views, 1, 6, dtype)[0], 17 * views
    instance, view = torch.arange(17).repeat(views), torch.arange(views).repeat_interleave(17)
    ids = {"views": view, "instances": instance, "both": instance}.get(masks)
    own = torch.arange(n) if masks in ("own", "both") else None
    mask = Mask(ids, ids, own)
    assert len(tiles(u, mask, TINY)) > 5  # really tiles
    got = pairwise_logsumexp(u, u, 5.0, row_ids=ids, col_ids=ids, self_index=own, memory_limit=TINY)
    assert symmetric_calls == [(True, True)]
    want = plain(u.double(), u.double(), 5.0, mask.excluded(slice(0, n), slice(0, n)))[0]
    assert_same(got, want, (u,), value_tol, grad_tol)


def test_only_a_symmetric_mask_is_halved(symmetric_calls):
    u, _ = make(20, 1, 4, torch.float64)
    ids, own = torch.arange(20) % 4, torch.arange(20).roll(1)
    for options in ({"row_ids": ids, "col_ids": ids.roll(1)}, {"self_index": own}):
        got = pairwise_logsumexp(u, u, 2.0, memory_limit=TINY, **options)
        excluded = Mask(**options).excluded(slice(0, 20), slice(0, 20))
        assert_same(got, plain(u, u, 2.0, excluded)[0], (u,), 1e-10, 1e-10)
    assert symmetric_calls == []


@pytest.mark.parametrize(("dtype", "value_tol", "grad_tol"), PRECISIONS)
@pytest.mark.parametrize("scale", [5.0, 100.0])  # with and without a running maximum
@pytest.mark.parametrize("limit", [TINY, 2**30])
def test_rows_and_columns_of_one_matrix(dtype, value_tol, grad_tol, scale, limit):
    q, k = make(23, 31, 5, dtype)
    ids, col_ids = torch.arange(23) % 7, torch.arange(31) % 6
    excluded = ids[:, None] == col_ids
    rows, cols = pairwise_logsumexp_both(
        q, k, scale, row_ids=ids, col_ids=col_ids, memory_limit=limit
    )
    a, b = q.double(), k.double()
    want_rows, want_cols = plain(a, b, scale, excluded)[0], plain(b, a, scale, excluded.T)[0]
    for pick in (lambda r, c: r, lambda r, c: c, lambda r, c: torch.cat([r, c])):
        got, want = pick(rows, cols), pick(want_rows, want_cols)
        assert_same(got, want, (q, k), value_tol, grad_tol)


@pytest.mark.parametrize(("dtype", "value_tol", "grad_tol"), PRECISIONS)
@pytest.mark.parametrize("scale", [3.0, 100.0])
def test_constant_keys_need_no_second_pass(dtype, value_tol, grad_tol, scale):
    q, k = make(19, 40, 5, dtype)
    own = torch.arange(19)
    excluded = own[:, None] == torch.arange(40)
    got = pairwise_logsumexp(q, k.detach(), scale, self_index=own, memory_limit=TINY)
    want = plain(q.double(), k.detach().double(), scale, excluded)[0]
    assert_same(got, want, (q,), value_tol, grad_tol)
    with torch.no_grad():
        value = pairwise_logsumexp(q, k, scale, self_index=own, memory_limit=TINY)
    assert torch.equal(value, got)


@pytest.mark.parametrize("function", [pairwise_logsumexp, pairwise_softmax_mean])
@pytest.mark.parametrize("limit", [TINY, 2**30])
def test_padding(function, limit):
    """Columns that fill up a batch change nothing, whatever they hold, and get no gradient."""
    q, k = make(14, 18, 4, torch.float64)
    ids, own = torch.arange(14) % 5, torch.tensor([*range(13), -1])
    padded = torch.zeros(18, dtype=torch.bool)
    padded[[0, 3, 11, 17]] = True
    options = {"row_ids": ids, "col_ids": torch.arange(18) % 6, "self_index": own}
    excluded = Mask(**options).excluded(slice(0, 14), slice(0, 18)) | padded
    with torch.no_grad():
        k[padded] = 1e6
    got = function(q, k, 3.0, **options, key_padding_mask=padded, memory_limit=limit)
    want = plain(q, torch.where(padded[:, None], 0, k), 3.0, excluded)
    assert_same(got, want[function is pairwise_softmax_mean], (q, k), 1e-10, 1e-10)
    (grad,) = torch.autograd.grad(got.sum(), k)
    assert not grad[padded].any()
    assert grad[~padded].any(1).all()


def test_padding_that_leaves_nothing():
    q, k = make(4, 5, 3, torch.float64)
    with pytest.raises(ValueError, match="marks every key as padding"):
        pairwise_logsumexp(q, k, key_padding_mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises((ValueError, TypeError)):
        pairwise_logsumexp(q, k, key_padding_mask=torch.ones(4, dtype=torch.bool))
    ids, col_ids = torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"4 of 4 rows .* every column masked"):
        pairwise_logsumexp(q, k, row_ids=ids, col_ids=col_ids, key_padding_mask=col_ids == 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.sampled_from(["exclude", "only"]),
    st.booleans(),
)
def test_tiles_that_are_skipped_or_not_compared(row_ids, col_ids, match, ordered):
    """Tiles are left out, or their mask is, by the ranges of their ids: the mask stays the same."""
    if ordered:
        row_ids, col_ids = sorted(row_ids), sorted(col_ids)
    a, b = torch.tensor(row_ids), torch.tensor(col_ids)
    own = torch.arange(len(a)) - 1
    mask = Mask(a, b, own, match == "only")
    want = mask.excluded(slice(0, len(a)), slice(0, len(b)))
    found = torch.ones_like(want)
    plan = tiles_for(a[:, None].float(), b[:, None].float(), 1.0, mask, 16 * 4)
    for rows, cols, masked in plan.tiles(len(a), len(b)):
        found[rows, cols] = plan.excluded(rows, cols) if masked else False
    assert torch.equal(found, want)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.floats(0.01, 50),
    st.integers(16, 4000),
    st.sampled_from(["exclude", "only"]),
)
def test_tiled_equals_dense(rows, cols, dim, scale, limit, match):
    q, k = make(rows, cols, dim, torch.float64)
    # One column of another group in "exclude"; column 0 shared by all in "only".
    ids = torch.zeros(rows, dtype=torch.long)
    col_ids = torch.arange(cols) % 3
    if match == "exclude":
        col_ids[0] = 1
    options = {"row_ids": ids, "col_ids": col_ids, "match": match}
    for function in (pairwise_logsumexp, pairwise_softmax_mean):
        tiled = function(q, k, scale, memory_limit=limit, **options)
        dense = function(q, k, scale, memory_limit=2**30, **options)
        assert torch.allclose(tiled, dense, rtol=0, atol=1e-10)
        a = torch.autograd.grad(tiled.sum(), (q, k))
        b = torch.autograd.grad(dense.sum(), (q, k))
        assert all(torch.allclose(x, y, rtol=1e-9, atol=1e-9) for x, y in zip(a, b))


@pytest.mark.parametrize("limit", [TINY, 2**30])
def test_gradcheck(limit):
    q, k = make(6, 7, 3, torch.float64)
    own = torch.tensor([0, 1, 2, -1, 4, 5])

    def f(a, b):
        return pairwise_logsumexp(a, b, 3.0, self_index=own, memory_limit=limit)

    def mean(a, b):
        return pairwise_softmax_mean(a, b, 3.0, self_index=own, memory_limit=limit)

    assert torch.autograd.gradcheck(f, (q, k))
    assert torch.autograd.gradcheck(mean, (q, k))
    # The same tensor on both sides: the two gradients add up.
    assert torch.autograd.gradcheck(lambda a: f(a, torch.cat([a, a])), (q,))
    own = torch.arange(6)
    assert torch.autograd.gradcheck(lambda a: f(a, a), (q,))
    for scale in (3.0, 60.0):
        both = partial(pairwise_logsumexp_both, scale=scale, memory_limit=limit)
        assert torch.autograd.gradcheck(both, (q, k))


@pytest.mark.parametrize("limit", [TINY, 2**30])
def test_detached_weights(limit):
    q, k = make(9, 11, 4, torch.float64)
    got = pairwise_softmax_mean(q, k, 4.0, detach_weights=True, memory_limit=limit)
    similarity = q @ k.T
    want = ((4.0 * similarity).softmax(1).detach() * similarity).sum(1)
    assert torch.allclose(got, want, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(got.sum(), (q, k)), torch.autograd.grad(want.sum(), (q, k))
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("limit", [TINY, 2**30])
def test_large_logits_do_not_overflow(limit):
    q, k = make(20, 30, 4, torch.float32)
    out = pairwise_logsumexp(q, k, 1e4, memory_limit=limit)
    assert torch.isfinite(out).all()
    assert torch.allclose(out, plain(q, k, 1e4)[0], rtol=1e-6)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(out.sum(), (q, k)))


@pytest.mark.parametrize("limit", [TINY, 2**30])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_fully_masked_row_raises(limit, scale):
    q, k = make(12, 12, 3, torch.float64)
    ids = torch.zeros(12, dtype=torch.long)
    options = {"row_ids": ids, "col_ids": ids, "memory_limit": limit}
    message = r"12 of 12 rows \(first: row 0\) have every column masked"
    for keys in (q, k, k.detach()):
        for function in (pairwise_logsumexp, pairwise_logsumexp_both, pairwise_softmax_mean):
            with pytest.raises(ValueError, match=message):
                function(q, keys, scale, **options)
    ids = torch.tensor([0] * 7 + [1] + [0] * 4)
    options = {"row_ids": ids, "col_ids": torch.zeros(12, dtype=torch.long), "match": "only"}
    for function in (pairwise_logsumexp, pairwise_softmax_mean):
        with pytest.raises(ValueError, match=r"1 of 12 rows \(first: row 7\)"):
            function(q, k, scale, memory_limit=limit, **options)


@pytest.mark.parametrize("limit", [64, 2**30])
@pytest.mark.parametrize("function", [pairwise_logsumexp, pairwise_softmax_mean])
def test_half_is_computed_in_float32(limit, function):
    q, k = make(25, 36, 4, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = function(q, k, 10.0, memory_limit=limit)
    assert out.dtype == torch.float32
    a, b = (x.detach().double().requires_grad_() for x in (q, k))
    want = plain(a, b, 10.0)[function is pairwise_softmax_mean]
    assert torch.allclose(out.double(), want, rtol=0, atol=1e-5)
    got = torch.autograd.grad(out.sum(), (q, k))
    for grad, exact in zip(got, torch.autograd.grad(want.sum(), (a, b)), strict=True):
        assert grad.dtype == torch.bfloat16
        # no error but the last rounding, half a unit of bfloat16's eighth bit
        assert torch.allclose(grad.double(), exact, rtol=2**-8, atol=1e-5)


def test_saved_memory_is_linear():
    """Nothing of the size of the matrix is kept for the backward pass."""
    q, k = make(300, 400, 4, torch.float32)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        pairwise_logsumexp(q, k, memory_limit=2**16).sum().backward()
    assert max(sizes) <= 400 * 4


@pytest.mark.parametrize(
    "bad",
    [
        {"row_ids": torch.arange(4)},
        {"scale": float("nan")},
        {"match": "all"},
        {"self_index": torch.arange(3)},
    ],
)
def test_bad_arguments(bad):
    q, k = make(4, 5, 3, torch.float32)
    with pytest.raises((ValueError, TypeError)):
        pairwise_logsumexp(q, k, **bad)


def test_empty_keys():
    q, k = make(4, 5, 3, torch.float32)
    with pytest.raises(ValueError, match="empty"):
        pairwise_logsumexp(q, k[:0])
