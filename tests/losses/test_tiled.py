"""The tiled log-sum-exp equals the plain matrix form, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tacit.losses import pairwise_logsumexp, pairwise_softmax_mean

TINY = 400  # bytes: tiles of a few elements


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


@pytest.mark.parametrize(
    ("dtype", "value_tol", "grad_tol"),
    [(torch.float32, 1e-6, 1e-5), (torch.float64, 1e-10, 1e-10)],
)
@pytest.mark.parametrize("scale", [0.5, 2.0, 10.0])
def test_matches_plain_form(dtype, value_tol, grad_tol, scale):
    q, k = make(37, 53, 8, dtype)
    ids = torch.arange(37) % 7
    col_ids = torch.arange(53) % 9
    own = torch.arange(37)
    excluded = (ids[:, None] == col_ids) | (own[:, None] == torch.arange(53))
    weight = torch.linspace(-1, 1, 37, dtype=dtype)
    options = {"row_ids": ids, "col_ids": col_ids, "self_index": own, "memory_limit": TINY}
    for function, which in ((pairwise_logsumexp, 0), (pairwise_softmax_mean, 1)):
        got = function(q, k, scale, **options)
        want = plain(q.double(), k.double(), scale, excluded)[which]
        assert (got - want).abs().max() / want.abs().max().clamp_min(1) < value_tol
        got_grads = torch.autograd.grad((got * weight).sum(), (q, k))
        want_grads = torch.autograd.grad((want * weight).sum(), (q, k))
        for a, b in zip(got_grads, want_grads):
            assert (a - b).abs().max() < grad_tol


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
def test_fully_masked_row_raises(limit):
    q, k = make(12, 12, 3, torch.float64)
    ids = torch.zeros(12, dtype=torch.long)
    with pytest.raises(ValueError, match="every column masked"):
        pairwise_logsumexp(q, k, row_ids=ids, col_ids=ids, memory_limit=limit)


def test_half_is_computed_in_float32():
    q, k = make(5, 6, 4, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = pairwise_logsumexp(q, k, 10.0)
    assert out.dtype == torch.float32
    want = plain(q.float(), k.float(), 10.0)[0]
    assert torch.allclose(out, want, atol=1e-5)
    tiled = pairwise_logsumexp(q, k, 10.0, memory_limit=64)
    assert torch.allclose(tiled, want, atol=1e-5)


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
