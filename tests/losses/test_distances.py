"""Softmax means of a queue in one pass."""

from __future__ import annotations

import pytest
import torch

from tacit.losses.tiled import softmax_key_mean


@pytest.mark.parametrize("scale", [0.0, 2.0, 300.0])
@pytest.mark.parametrize("memory_limit", [1, 4 * 8 * 5 * 3, 2**20])  # 1, 3 and all columns a tile
def test_tiled_softmax_mean_is_the_plain_one(scale, memory_limit) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randn(11, 4, generator=g, dtype=torch.float64)
    mean, lse = softmax_key_mean(x, y, scale, memory_limit=memory_limit)
    logits = scale * (x.detach() @ y.T)
    torch.testing.assert_close(mean, torch.softmax(logits, 1) @ y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lse, torch.logsumexp(logits, 1), rtol=1e-9, atol=1e-9)
    assert not mean.requires_grad
    assert not lse.requires_grad
