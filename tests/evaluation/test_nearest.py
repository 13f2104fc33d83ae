"""The first look in bf16 finds what float32 finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tacit.evaluation.nearest import Rough, _screened, nearest, screens


def unit(n: int, d: int = 24, seed: int = 0, spread: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.ones(d) + spread * torch.randn(n, d, generator=g))


@pytest.mark.parametrize("spread", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("n", [2400, 2411])
@pytest.mark.parametrize("own", [None, 0, 100, -3])
def test_the_screened_neighbours_are_the_neighbours(spread: float, n: int, own: int | None) -> None:
    bank, k = unit(n, spread=spread), 9
    query = unit(40, seed=1) if own is None else bank[max(own, 0) : max(own, 0) + 40]
    found = _screened(query, bank, Rough.of(bank), k, own)
    assert found is not None or spread == 1.0
    for values, columns in [nearest(query, bank, None, k, own), *([found] if found else [])]:
        full = query @ bank.T
        for i in range(len(full)):
            if own is not None and 0 <= own + i < n:
                full[i, own + i] = -torch.inf
        wanted = full.topk(k, dim=1)
        torch.testing.assert_close(values, wanted.values, atol=1e-6, rtol=0)
        torch.testing.assert_close(full.gather(1, columns), wanted.values, atol=1e-6, rtol=0)
        assert all(len(set(row)) == k for row in columns.tolist())


def test_close_values_are_left_to_float32() -> None:
    # All similarities lie within the rounding of bf16: the first look cannot tell them apart.
    bank = unit(3000, spread=0.01)
    query = unit(20, seed=1, spread=0.01)
    assert _screened(query, bank, Rough.of(bank), 5, None) is None
    values, _ = nearest(query, bank, Rough.of(bank), 5, None)
    torch.testing.assert_close(values, (query @ bank.T).topk(5).values, atol=1e-6, rtol=0)


def test_a_small_bank_is_left_to_float32() -> None:
    bank = unit(100)
    assert _screened(bank, bank, Rough.of(bank), 5, None) is None


def test_only_processors_are_screened() -> None:
    assert not screens(torch.device("cuda"))
    assert isinstance(screens(torch.device("cpu")), bool)
