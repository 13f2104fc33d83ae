"""Checks and precision shared by the losses."""

from __future__ import annotations

import pytest
import torch

from tacit.losses import barlow_twins_loss, dcl_loss, uniform_loss, vicreg_loss
from tacit.losses._common import check_positive, check_views, full_precision, unit_rows


def test_check_views():
    with pytest.raises(ValueError, match="same shape"):
        check_views(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="matrices"):
        check_views(torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match="at least 2"):
        check_views(torch.ones(1, 3), minimum=2)


def test_check_positive():
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tau"):
            check_positive("tau", value)


def test_unit_rows():
    with pytest.raises(ValueError, match="1 of 2 rows"):
        unit_rows(torch.tensor([[1.0], [float("nan")]]))
    with pytest.warns(RuntimeWarning, match="zero"):
        assert unit_rows(torch.zeros(1, 2)).tolist() == [[0, 0]]


def test_full_precision_reaches_into_lists():
    @full_precision
    def dtypes(a, b, *, c):
        return [a.dtype, b[0].dtype, c.dtype, (a @ a.T).dtype]

    half, double = torch.ones(2, 2, dtype=torch.float16), torch.ones(2, 2, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = dtypes(half, [half], c=double)
    assert found == [torch.float32, torch.float32, torch.float64, torch.float32]


@pytest.mark.parametrize("loss", [barlow_twins_loss, vicreg_loss, dcl_loss])
def test_half_inputs(loss):
    g = torch.Generator().manual_seed(0)
    z1, z2 = torch.randn(2, 8, 4, generator=g).to(torch.bfloat16).unbind()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(z1, z2)
    assert got.dtype == torch.float32
    assert torch.equal(got, loss(z1.float(), z2.float()))


def test_large_batches_use_tiles_with_equal_values():
    """Above the dense limit of a CPU the losses switch to tiles; the value stays."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(1500, 4, generator=g, dtype=torch.float64)
    u = torch.nn.functional.normalize(z, dim=1)
    want = torch.pdist(u).pow(2).mul(-2).exp().mean().log()
    assert uniform_loss(z).item() == pytest.approx(want.item(), abs=1e-9)
