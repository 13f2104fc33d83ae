"""Masked nodes and dropped edges: counts, places, limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.views.graph import (
    draw_masked_atoms,
    draw_masked_nodes,
    drop_edges,
    mask_node_features,
)

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + 5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 99))
def test_counts_are_truncated_and_parts_are_apart(
    n: int, rate: float, replace: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    count = int(rate * n)
    if count == 0:
        with pytest.raises(ValueError, match="masks none"):
            draw_masked_nodes(n, rate, replace, g)
        return
    nodes = draw_masked_nodes(n, rate, replace, g)
    masked, token, noise = (set(part.tolist()) for part in nodes[:3])
    assert len(masked) == len(nodes.masked) == count
    assert len(token) == (count if replace == 0 else int((1 - replace) * count))
    assert len(noise) == len(nodes.noise_source) == (int(replace * count) if replace else 0)
    assert token | noise <= masked
    assert not token & noise


def test_too_few_masked_nodes_for_noise_give_none() -> None:
    nodes = draw_masked_nodes(8, 0.5, 0.1)
    assert len(nodes.noise) == len(nodes.noise_source) == 0
    assert len(nodes.token) == 3  # int(0.9 * 4): the fourth keeps its features


def test_without_token_and_noise_rows_become_zero() -> None:
    out, masked, noise = mask_node_features(X, torch.zeros(3), 0.3)
    assert len(masked) == 6
    assert len(noise) == 0
    assert not out[masked].any()
    rest = torch.ones(20, dtype=torch.bool)
    rest[masked] = False
    assert torch.equal(out[rest], X[rest])
    assert X.all()  # the input is not written to


def test_token_and_noise_rows(generator: torch.Generator) -> None:
    token = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    out, masked, noise = mask_node_features(X, token, 0.5, 0.3, generator)
    shown = {tuple(row) for row in X.tolist()}
    with_token = [i for i in masked.tolist() if i not in noise.tolist()]
    assert len(noise) == 3
    assert all(tuple(row) in shown for row in out[noise].tolist())
    assert sum(torch.equal(out[i], token[0]) for i in with_token) == 7
    out.sum().backward()
    assert token.grad is not None
    assert token.grad.tolist() == [[7, 7, 7]]


def test_generator_decides() -> None:
    a, b = (
        mask_node_features(X, torch.zeros(3), 0.5, 0.2, torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    assert all(torch.equal(p, q) for p, q in zip(a, b))


@pytest.mark.parametrize(("rate", "replace"), [(0.0, 0.0), (1.1, 0.0), (0.5, -0.1), (0.5, 1.1)])
def test_impossible_rates(rate: float, replace: float) -> None:
    with pytest.raises(ValueError, match="_rate must be in"):
        mask_node_features(X, torch.zeros(3), rate, replace)


def test_edges_stay_with_their_probability(generator: torch.Generator) -> None:
    edges = torch.arange(40_000).view(2, -1)
    kept = drop_edges(edges, 0.3, generator)
    assert abs(kept.shape[1] / 20_000 - 0.7) < 0.02
    assert torch.equal(kept[1] - kept[0], torch.full_like(kept[0], 20_000))  # pairs stay pairs
    assert drop_edges(edges, 0.0) is edges
    with pytest.raises(ValueError, match="dropped edges"):
        drop_edges(edges, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_atoms_are_masked_molecule_by_molecule(sizes: list[int], rate: float) -> None:
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    masked = draw_masked_atoms(batch, rate)
    assert len(set(masked.tolist())) == len(masked)
    counts = torch.bincount(batch[masked], minlength=len(sizes)).tolist()
    assert counts == [min(n, int(n * rate + 1)) for n in sizes]
