"""The batched blur against one explicit convolution an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from tacit.views import gaussian_blur


@pytest.mark.parametrize(
    ("height", "width", "kernel"), [(9, 9, 3), (32, 32, 3), (40, 70, 9), (65, 33, 23), (13, 12, 23)]
)
def test_equals_convolution_with_reflection(height: int, width: int, kernel: int) -> None:
    x = torch.rand(4, 3, height, width, dtype=torch.float64)
    sigma = torch.tensor([0.1, 0.7, 1.3, 2.0], dtype=torch.float64)
    out = gaussian_blur(x, sigma, kernel)
    offsets = np.arange(kernel) - kernel // 2
    for image, width_of, y in zip(x.numpy(), sigma.tolist(), out.numpy()):
        taps = np.exp(-0.5 * (offsets / width_of) ** 2)
        taps /= taps.sum()
        # scipy calls reflection without repeating the border pixel "mirror"
        reference = convolve1d(
            convolve1d(image, taps, axis=1, mode="mirror"), taps, 2, mode="mirror"
        )
        np.testing.assert_allclose(y, reference, atol=1e-12)


def test_keeps_mean_of_a_constant_and_the_order_of_samples() -> None:
    x, sigma = torch.rand(5, 1, 16, 16), torch.linspace(0.2, 2, 5)
    order = torch.tensor([3, 1, 4, 0, 2])
    a, b = gaussian_blur(x, sigma, 5)[order], gaussian_blur(x[order], sigma[order], 5)
    torch.testing.assert_close(a, b)
    flat = torch.full((2, 3, 40, 40), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, torch.tensor([1.0, 2.0]), 9), flat)


def test_gradient() -> None:
    x = torch.rand(2, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.5, 1.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: gaussian_blur(v, sigma, 5), (x,))


@pytest.mark.parametrize("kernel", [0, 4, 17])
def test_bad_kernels(kernel: int) -> None:
    with pytest.raises(ValueError, match="kernel_size"):
        gaussian_blur(torch.rand(1, 1, 8, 8), torch.ones(1), kernel)


def test_one_sigma_a_sample() -> None:
    with pytest.raises(ValueError, match="one sigma a sample"):
        gaussian_blur(torch.rand(2, 1, 8, 8), torch.ones(1), 3)
