"""The feature queue and the prototypes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tacit.losses import moco_loss
from tacit.parts import FeatureQueue, Prototypes


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 9), max_size=6))
def test_holds_the_last_features(size, batches):
    queue = FeatureQueue(size, 3, init="empty")
    g = torch.Generator().manual_seed(0)
    seen = torch.zeros(0, 3)
    for n in batches:
        new = torch.randn(n, 3, generator=g)
        queue.push(new)
        seen = torch.cat([seen, normalize(new, dim=1)])
    last = seen[-size:]
    held = queue.rows
    assert held.shape == last.shape
    assert {tuple(r) for r in held.tolist()} == {tuple(r) for r in last.tolist()}


def test_wraps_around_in_order():
    queue = FeatureQueue(4, 2, init="empty")
    angles = torch.arange(6.0)
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    queue.push(rows[:3])
    queue.push(rows[3:])
    assert torch.allclose(queue.rows, rows[[4, 5, 2, 3]], atol=1e-6)
    assert int(queue.pointer) == 2


def test_random_start():
    a, b = (FeatureQueue(50, 8, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a.rows, b.rows)
    assert torch.allclose(a.rows.norm(dim=1), torch.ones(50))
    assert a.columns.shape == (8, 50)


def test_nearest():
    g = torch.Generator().manual_seed(0)
    queue = FeatureQueue(30, 4, generator=g)
    x = 5 * torch.randn(7, 4, generator=g)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], queue.rows[None], dim=2)
    assert torch.equal(queue.nearest(x), queue.rows[cosine.argmax(1)])
    assert torch.allclose(queue.nearest(3 * queue.rows), queue.rows)
    with pytest.raises(ValueError, match="empty"):
        FeatureQueue(3, 4, init="empty").nearest(x)


def test_push_between_loss_and_backward():
    queue = FeatureQueue(16, 4, generator=torch.Generator().manual_seed(0))
    q = torch.randn(4, 4, requires_grad=True)
    loss = moco_loss(q, q.detach(), queue.columns)
    queue.push(q)
    loss.backward()
    assert q.grad.abs().max() > 0
    assert not queue.features.requires_grad


def test_queue_state_dict():
    queue = FeatureQueue(5, 2, init="empty")
    queue.push(torch.randn(7, 2))
    other = FeatureQueue(5, 2, init="empty")
    other.load_state_dict(queue.state_dict())
    more = torch.randn(2, 2)
    queue.push(more)
    other.push(more)
    assert torch.equal(queue.features, other.features)


def test_queue_bad_input():
    with pytest.raises((ValueError, TypeError)):
        FeatureQueue(5, 2).push(torch.ones(3, 4))
    with pytest.raises(ValueError, match="size"):
        FeatureQueue(0, 2)


def test_prototypes():
    prototypes = Prototypes(6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(prototypes.weight.norm(dim=1), torch.ones(4))
    z = torch.randn(5, 6)
    cosine = torch.nn.functional.cosine_similarity(z[:, None], prototypes.weight[None], dim=2)
    assert torch.allclose(prototypes(z), cosine, atol=1e-6)
    prototypes(z).sum().backward()
    optimizer = torch.optim.SGD(prototypes.parameters(), lr=1.0, weight_decay=0.1)
    before = prototypes.weight.detach().clone()
    prototypes.freeze()
    optimizer.step()
    assert torch.equal(prototypes.weight, before)
    prototypes(z).sum().backward()
    optimizer.step()
    assert not torch.allclose(prototypes.weight.norm(dim=1), torch.ones(4))
    prototypes.renormalise()
    assert torch.allclose(prototypes.weight.norm(dim=1), torch.ones(4))
