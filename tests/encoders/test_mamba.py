"""The parallel scan against the loop, and the selective state-space block."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.encoders.series import scan
from tacit.encoders.series.mamba import MambaBlock, MambaEncoder, selective_scan
from tacit.encoders.series.scan import parallel_scan, sequential_scan
from tacit.errors import ConfigError


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = 1.4 * torch.rand(shape, generator=g, dtype=torch.float64) - 0.4  # any sign, above 1 too
    return a.requires_grad_(), torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_()


@given(st.integers(1, 70), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_scan_equals_the_loop_with_its_gradients(length: int, seed: int) -> None:
    a, b = pair((2, length, 3, 2), seed)
    weight = torch.randn(2, length, 3, 2, dtype=torch.float64)
    out = []
    for function in (parallel_scan, sequential_scan):
        h = function(a, b)
        out.append((h, *torch.autograd.grad((h * weight).sum(), (a, b))))
    for mine, reference in zip(*out, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("enough", [1, 10**9])
def test_one_chunk_and_many_are_the_same(enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scan.ENOUGH, "cpu", enough)
    assert scan._chunks(50, 12, "cpu") == (1 if enough == 1 else 10)
    a, b = pair((2, 50, 3, 2))
    h = parallel_scan(a, b)
    wanted = sequential_scan(a, b)
    assert torch.allclose(h, wanted, rtol=1e-12)
    weight = torch.randn_like(h)
    mine = torch.autograd.grad((h * weight).sum(), (a, b))
    for x, y in zip(mine, torch.autograd.grad((wanted * weight).sum(), (a, b)), strict=True):
        assert torch.allclose(x, y, rtol=1e-10, atol=1e-10)
    small = tuple(x[:1, :34, :1, :1].detach().requires_grad_() for x in (a, b))
    assert torch.autograd.gradgradcheck(parallel_scan, small)


def test_scan_takes_zeros_ones_and_first_and_second_derivatives() -> None:
    a, b = pair((1, 7, 2))
    with torch.no_grad():
        a[0, 2], a[0, 4] = 0.0, 1.0
    assert torch.autograd.gradcheck(parallel_scan, (a, b))
    assert torch.autograd.gradgradcheck(parallel_scan, (a, b))
    ones = torch.ones(1, 9, dtype=torch.float64)
    assert torch.equal(parallel_scan(ones, ones), torch.arange(1.0, 10).double()[None])


def test_scan_is_stable_over_long_series() -> None:
    a = torch.full((1, 20_000), 0.01)
    h = parallel_scan(a, torch.ones(1, 20_000))
    assert torch.isfinite(h).all()
    assert abs(float(h[0, -1]) - 1 / 0.99) < 1e-6
    with pytest.raises(ValueError, match="one shape"):
        parallel_scan(a, a[:, :5])
    with pytest.raises(ValueError, match="one shape"):
        sequential_scan(a[:, :0], a[:, :0])


def test_selective_scan_is_the_written_recurrence() -> None:
    g = torch.Generator().manual_seed(0)
    n, t, d, s = 2, 11, 3, 4
    u, dt = torch.randn(2, n, t, d, generator=g, dtype=torch.float64)
    dt = F.softplus(dt)
    A = -torch.rand(d, s, generator=g, dtype=torch.float64)
    B, C = torch.randn(2, n, t, s, generator=g, dtype=torch.float64)
    D = torch.randn(d, generator=g, dtype=torch.float64)
    wanted = torch.zeros(n, t, d, dtype=torch.float64)
    for i in range(n):
        for c in range(d):
            h = [0.0] * s
            for k in range(t):
                for j in range(s):
                    h[j] = math.exp(dt[i, k, c] * A[c, j]) * h[j] + float(
                        dt[i, k, c] * B[i, k, j] * u[i, k, c]
                    )
                wanted[i, k, c] = sum(float(C[i, k, j]) * h[j] for j in range(s)) + float(
                    D[c] * u[i, k, c]
                )
    for name in ("parallel", "sequential"):
        y = selective_scan(u, dt, A, B, C, D, scan=name)  # type: ignore[arg-type]
        assert torch.allclose(y, wanted, atol=1e-12)
    with pytest.raises(ConfigError, match="parallel"):
        selective_scan(u, dt, A, B, C, D, scan="fast")


def block(**options: object) -> MambaBlock:
    torch.manual_seed(1)
    return MambaBlock(8, d_state=5, **options).double()  # type: ignore[arg-type]


def test_block_is_the_same_by_both_scans_with_gradients() -> None:
    results = []
    x = torch.randn(2, 30, 8, dtype=torch.float64, requires_grad=True)
    for name in ("parallel", "sequential"):
        net = block(scan=name)
        y = net(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *net.parameters()))))
    for mine, reference in zip(*results, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-10, atol=1e-12)


def test_block_is_causal() -> None:
    net, x = block(), torch.randn(2, 20, 8, dtype=torch.float64)
    y = net(x)
    changed = x.clone()
    changed[:, 12:] = torch.randn(2, 8, 8, dtype=torch.float64)
    other = net(changed)
    assert torch.equal(other[:, :12], y[:, :12])
    assert (other[:, 12] - y[:, 12]).abs().max() > 1e-6


def test_block_without_memory_and_with_zero_input() -> None:
    net, x = block(), torch.randn(2, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        net.A_log.fill_(40.0)  # states decay at once
        net.conv1d.weight.zero_()
        net.conv1d.weight[:, 0, -1] = 1.0  # the convolution sees the present only
    alone = net(x.reshape(18, 1, 8)).reshape(2, 9, 8)
    assert torch.allclose(net(x), alone, atol=1e-12)
    assert block()(torch.zeros(1, 5, 8, dtype=torch.float64)).abs().max() == 0  # the gate is shut


def test_block_initialisation() -> None:
    torch.manual_seed(0)
    net = MambaBlock(64)
    assert (net.dt_rank, net.A_log.shape, net.in_proj.weight.shape) == (4, (128, 16), (256, 64))
    assert torch.allclose(net.A_log.exp(), torch.arange(1.0, 17).expand(128, 16))
    assert bool((net.D == 1).all())
    dt = F.softplus(net.dt_proj.bias)
    assert dt.min() >= 0.999e-3
    assert dt.max() <= 0.1001
    assert 0.3 < float((dt.log() < math.log(0.01)).float().mean()) < 0.7  # log-uniform
    assert net.dt_proj.weight.abs().max() <= 0.5
    biased = [name for name, _ in net.named_parameters() if name.endswith("bias")]
    assert biased == ["conv1d.bias", "dt_proj.bias"]


def test_bad_input_of_blocks_and_encoder() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MambaBlock(0)
    with pytest.raises(ConfigError, match="'quick'"):
        MambaBlock(4, scan="quick")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected"):
        MambaBlock(4)(torch.zeros(2, 3, 5))
    with pytest.raises(ConfigError, match="depth 0"):
        MambaEncoder(1, depth=0)
    with pytest.raises(ValueError, match="channels"):
        MambaEncoder(1)(torch.zeros(2, 3, 50))


def test_encoder_features() -> None:
    torch.manual_seed(0)
    encoder = MambaEncoder(2, patch=4, dim=16, depth=2).double()
    x = torch.randn(3, 2, 30, dtype=torch.float64)
    features = encoder.features(x)
    assert features.patches.shape == (3, 8, 16)
    assert features.grid == (8,)
    assert torch.allclose(features.pooled, features.patches.mean(1))
    late = x.clone()
    late[..., 20:] += 1  # causal over patches
    assert torch.allclose(encoder.features(late).patches[:, :5], features.patches[:, :5])
