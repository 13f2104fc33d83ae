"""Scaled cosine error: closed forms, gradients, invariances, and the form without z."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torch import Tensor

from tacit.encoders.gnn import SparseRows
from tacit.losses import linear_scaled_cosine_error, scaled_cosine_error


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 2.5, 3.0])
def test_is_the_power_of_one_minus_cosine(alpha: float) -> None:
    z, x = draw(6, 4), draw(6, 4, seed=1)
    cosine = torch.stack([a @ b / (a.norm() * b.norm()) for a, b in zip(z, x)])
    expected = (1 - cosine) ** alpha
    torch.testing.assert_close(scaled_cosine_error(z, x, alpha, "none"), expected)
    torch.testing.assert_close(scaled_cosine_error(z, x, alpha), expected.mean())
    torch.testing.assert_close(scaled_cosine_error(z, x, alpha, "sum"), expected.sum())
    assert torch.autograd.gradcheck(
        lambda z: scaled_cosine_error(z, x, alpha), z.clone().requires_grad_()
    )


def test_limits_and_scale() -> None:
    x = draw(5, 3)
    assert float(scaled_cosine_error(x, 7 * x)) == pytest.approx(0, abs=1e-12)
    assert float(scaled_cosine_error(x, -x, alpha=2)) == pytest.approx(4)
    z, scale = draw(5, 3, seed=1), torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(scaled_cosine_error(scale * z, x / scale), scaled_cosine_error(z, x))


def test_alpha_one_has_the_gradient_of_the_cosine() -> None:
    z, x = draw(5, 3).requires_grad_(), draw(5, 3, seed=1)
    (ours,) = torch.autograd.grad(scaled_cosine_error(z, x, 1.0), z)
    (cosine,) = torch.autograd.grad(-F.cosine_similarity(z, x).mean(), z)
    torch.testing.assert_close(ours, cosine)


def test_perfect_rows_have_no_gradient_and_no_nan() -> None:
    x = draw(5, 3)
    z = x.clone().requires_grad_()
    for alpha in (1.0, 1.5, 3.0):
        (gradient,) = torch.autograd.grad(scaled_cosine_error(z, x, alpha), z)
        torch.testing.assert_close(gradient, torch.zeros_like(x), atol=1e-7, rtol=0)


def test_zero_rows_have_error_one_and_are_announced() -> None:
    x = torch.eye(4, dtype=torch.float64)
    z = x.clone()
    z[0] = 0
    assert scaled_cosine_error(z, x, reduction="none").tolist() == [1, 0, 0, 0]
    with pytest.warns(RuntimeWarning, match="10% of the targets are all-zero"):
        assert scaled_cosine_error(x, z, reduction="none").tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("with_bias", [True, False])
def test_without_z_is_the_same_with_the_same_gradients(with_bias: bool) -> None:
    x = draw(7, 20) * (draw(7, 20, seed=1) > 1)
    x[3] = 0
    code, weight = draw(7, 4, seed=2).requires_grad_(), draw(20, 4, seed=3).requires_grad_()
    bias = draw(20, seed=4).requires_grad_() if with_bias else None
    inputs = [v for v in (code, weight, bias) if v is not None]
    rows = SparseRows.from_csr(x.to_sparse_csr())
    with pytest.warns(RuntimeWarning, match="more than 10%"):
        full = scaled_cosine_error(F.linear(code, weight, bias), x, 2.0)
    with pytest.warns(RuntimeWarning, match="more than 10%"):
        short = linear_scaled_cosine_error(code, weight, bias, rows, 2.0)
    torch.testing.assert_close(short, full)
    for a, b in zip(torch.autograd.grad(short, inputs), torch.autograd.grad(full, inputs)):
        torch.testing.assert_close(a, b)


def test_a_zero_code_has_error_one_without_nan() -> None:
    rows = SparseRows.from_csr(torch.eye(2, dtype=torch.float64).to_sparse_csr())
    code, weight = torch.zeros(2, 3, dtype=torch.float64), draw(2, 3).requires_grad_()
    loss = linear_scaled_cosine_error(code, weight, None, rows)
    assert float(loss) == 1
    assert torch.isfinite(torch.autograd.grad(loss, weight)[0]).all()


@pytest.mark.parametrize(
    ("z", "x", "alpha"),
    [
        (torch.ones(2, 3), torch.ones(3, 3), 1.0),
        (torch.ones(0, 3), torch.ones(0, 3), 1.0),
        (torch.ones(2, 3), torch.ones(2, 3), 0.5),
    ],
)
def test_bad_input(z: Tensor, x: Tensor, alpha: float) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=r"equal, non-empty|alpha must|target"):
        scaled_cosine_error(z, x, alpha)
