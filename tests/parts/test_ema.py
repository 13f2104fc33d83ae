"""The target network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tacit.parts import EMA


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def vector(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_starts_as_a_copy_without_gradient():
    online = net()
    ema = EMA(online)
    assert torch.equal(vector(ema.target), vector(online))
    assert not any(p.requires_grad for p in ema.parameters())
    x = torch.randn(5, 3, requires_grad=True)
    assert torch.equal(ema(x), online(x))
    assert not ema(x).requires_grad
    # A copy, not a reference.
    with torch.no_grad():
        online[0].weight.add_(1)
    assert not torch.equal(vector(ema.target), vector(online))


@pytest.mark.parametrize("m", [0.0, 0.3, 0.99, 1.0])
def test_update_is_the_average(m):
    online = net()
    ema = EMA(online, m, m)
    before = vector(ema.target)
    with torch.no_grad():
        for p in online.parameters():
            p.add_(torch.randn_like(p))
    ema.update(online, 0.5)
    want = m * before + (1 - m) * vector(online)
    assert torch.allclose(vector(ema.target), want, atol=1e-6)
    if m in (0.0, 1.0):
        assert torch.equal(vector(ema.target), want)


def test_schedules():
    online = nn.Linear(1, 1)
    cosine = EMA(online, 0.9, 1.0)
    assert cosine.momentum(0.0) == 0.9
    assert cosine.momentum(1.0) == 1.0
    for t in (0.1, 0.5, 0.8):
        assert cosine.momentum(t) == pytest.approx(1 - 0.1 * (math.cos(math.pi * t) + 1) / 2)
    assert EMA(online, 0.9, 1.0, "linear").momentum(0.25) == pytest.approx(0.925)
    assert EMA(online, 0.9, 1.0, "constant").momentum(0.7) == 0.9
    assert cosine.momentum(1.5) == 1.0


def test_buffers():
    for mode in ("keep", "copy"):
        online = net()
        ema = EMA(online, buffers=mode)
        online(torch.randn(8, 3) + 5)
        ema.update(online)
        same = torch.equal(ema.target[1].running_mean, online[1].running_mean)
        assert same == (mode == "copy")


def test_state_dict_restores_the_target():
    online = net()
    ema, other = EMA(online, 0.5), EMA(net(), 0.5)
    other.load_state_dict(ema.state_dict())
    assert torch.equal(vector(other.target), vector(online))
    assert sum(v.numel() for v in ema.state_dict().values()) == sum(
        v.numel() for v in online.state_dict().values()
    )


def test_another_start():
    online, start = net(), net()
    assert torch.equal(vector(EMA(online, target=start).target), vector(start))


def test_bad_input():
    with pytest.raises(ValueError, match="base"):
        EMA(net(), 1.5)
    with pytest.raises((ValueError, TypeError)):
        EMA(net(), schedule="step")
    with pytest.raises(ValueError, match="parameters"):
        EMA(net()).update(nn.Linear(3, 4))
