"""Reconstruction of connectivity: closed forms, gradients, limits."""

from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from tacit.losses import (
    balanced_edge_bce,
    edge_logits,
    masked_profile_loss,
    orthogonality_penalty,
)


def graph(seed: int = 0, n: int = 7, batch: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Profiles, links, node mask, edge mask."""
    g = torch.Generator().manual_seed(seed)
    fc = torch.rand(batch, n, n, generator=g, dtype=torch.float64) * 2 - 1
    fc = (fc + fc.mT) / 2
    nodes = torch.rand(batch, n, generator=g).argsort(-1) < 3
    edges = torch.rand(batch, n, n, generator=g).triu(1) > 0.6
    return fc, fc > 0.1, nodes, edges | edges.mT


def test_profile_loss_is_the_written_out_mean() -> None:
    fc, _, nodes, _ = graph()
    made = torch.randn(fc.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    terms = [
        float((made[b, i, j] - fc[b, i, j]) ** 2)
        for b in range(3)
        for i in range(7)
        for j in range(7)
        if nodes[b, i] and i != j
    ]
    assert float(masked_profile_loss(made, fc, nodes)) == pytest.approx(sum(terms) / len(terms))


def test_profile_loss_ignores_the_diagonal_and_visible_nodes() -> None:
    fc, _, nodes, _ = graph()
    made = fc + 5 * torch.eye(7, dtype=torch.float64)
    made[~nodes] = 99.0
    assert masked_profile_loss(made, fc, nodes) == 0
    assert masked_profile_loss(made, fc, nodes, kind="sce") == pytest.approx(0, abs=1e-12)


def test_scaled_cosine_error_of_opposite_profiles() -> None:
    fc, _, nodes, _ = graph()
    assert float(masked_profile_loss(-3 * fc, fc, nodes, kind="sce", alpha=2)) == pytest.approx(4)


def test_profile_loss_refuses() -> None:
    fc, _, nodes, _ = graph()
    with pytest.raises(ValueError, match="no node is masked"):
        masked_profile_loss(fc, fc, torch.zeros_like(nodes))
    with pytest.raises((ValueError, TypeCheckError), match=r"must be|parameter 'fc'"):
        masked_profile_loss(fc[:2], fc, nodes)
    with pytest.raises(Exception, match=r"'mse'"):
        masked_profile_loss(fc, fc, nodes, kind="l1")  # type: ignore[arg-type]


def test_edge_logits() -> None:
    p = torch.tensor([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    expected = torch.tensor([[6.0, 1.0], [1.0, 3.0]], dtype=torch.float64) / 2
    torch.testing.assert_close(edge_logits(p), expected)


def test_edge_loss_is_the_written_out_mean() -> None:
    fc, adj, _, edges = graph()
    logits = torch.randn(fc.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    links = [math.log1p(math.exp(-float(s))) for s in logits[edges & adj]]
    others = [math.log1p(math.exp(float(s))) for s in logits[edges & ~adj]]
    expected = (sum(links) / len(links) + sum(others) / len(others)) / 2
    assert float(balanced_edge_bce(logits, adj, edges)) == pytest.approx(expected, abs=1e-12)


def test_edge_loss_limits() -> None:
    _, adj, _, edges = graph()
    zeros = torch.zeros(adj.shape, dtype=torch.float64)
    log2 = pytest.approx(math.log(2), abs=1e-15)
    assert float(balanced_edge_bce(zeros, adj, edges)) == log2
    assert float(balanced_edge_bce(zeros, torch.ones_like(adj), edges)) == log2
    assert float(balanced_edge_bce(zeros, adj, torch.zeros_like(edges))) == 0
    sure = torch.where(adj, 1000.0, -1000.0).double()
    assert float(balanced_edge_bce(sure, adj, edges)) == 0
    assert float(balanced_edge_bce(-sure, adj, edges)) == 1000
    with pytest.raises((ValueError, TypeCheckError), match=r"same shape|parameter 'adj'"):
        balanced_edge_bce(zeros[0], adj, edges)


def test_gradients() -> None:
    fc, adj, nodes, edges = graph(n=5, batch=2)
    made = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: masked_profile_loss(x, fc, nodes), made)
    assert torch.autograd.gradcheck(lambda x: masked_profile_loss(x, fc, nodes, kind="sce"), made)
    codes = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: balanced_edge_bce(edge_logits(p), adj, edges), codes)
    assert torch.autograd.gradcheck(orthogonality_penalty, codes)


def test_orthogonality_is_the_written_out_norm() -> None:
    h = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    norms = []
    for graph_codes in h.reshape(6, 4, 5):
        inner = graph_codes @ graph_codes.T
        total = 0.0
        for i in range(4):
            for j in range(i, 4):
                total += float(inner[i, j] / inner[i].max() - float(i == j)) ** 2
        norms.append(math.sqrt(total))
    assert float(orthogonality_penalty(h)) == pytest.approx(sum(norms) / 6, abs=1e-12)


def test_orthogonality_of_dead_nodes_is_finite() -> None:
    h = torch.eye(3, dtype=torch.float64)
    h[1] = 0
    assert float(orthogonality_penalty(h)) == pytest.approx(1.0)  # the dead node is 1 from I
