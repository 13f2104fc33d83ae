"""Gaussian blur with its own width for every sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_BLOCK = 32


def gaussian_blur(
    images: Float[Tensor, "n c h w"], sigma: Float[Tensor, " n"], kernel_size: int
) -> Float[Tensor, "n c h w"]:
    """Separable Gaussian blur, edges reflected (the border pixel is not repeated).

    Weights ``exp(-d^2 / (2 sigma^2))`` for ``|d| <= kernel_size // 2``, normalised to sum 1.
    Each axis is cut in blocks, and a block is one product with a small banded matrix.

    Parameters
    ----------
    images : floating point.
    sigma : standard deviation in pixels, > 0, one a sample.
    kernel_size : odd number of taps; ``kernel_size // 2`` must be smaller than h and w.

    Raises
    ------
    ValueError : an even or too large kernel, or not one sigma a sample.

    Examples
    --------
    >>> x = torch.ones(1, 1, 4, 4)
    >>> torch.allclose(gaussian_blur(x, torch.tensor([1.0]), 3), x)
    True
    """
    radius = kernel_size // 2
    if kernel_size < 1 or kernel_size % 2 == 0 or radius >= min(images.shape[-2:]):
        raise ValueError(
            f"kernel_size must be odd and kernel_size // 2 smaller than the image side "
            f"{min(images.shape[-2:])}, got {kernel_size}"
        )
    if sigma.shape != images.shape[:1]:
        raise ValueError(f"one sigma a sample is needed ({len(images)}), got {tuple(sigma.shape)}")
    sigma = sigma.to(images)
    across = _blur_last(images, sigma, radius)
    return _blur_last(across.mT, sigma, radius).mT.contiguous()


def _blur_last(
    images: Float[Tensor, "n c h w"], sigma: Float[Tensor, " n"], radius: int
) -> Float[Tensor, "n c h w"]:
    n, channels, height, width = images.shape
    block = min(_BLOCK, width)
    count = -(-width // block)
    padded = F.pad(images, (radius, radius, 0, 0), mode="reflect")
    padded = F.pad(padded, (0, count * block - width))
    pieces = padded.unfold(3, block + 2 * radius, block)
    out = torch.bmm(pieces.reshape(n, -1, block + 2 * radius), _band(sigma, radius, block))
    return out.view(n, channels, height, count * block)[..., :width]


def _band(sigma: Float[Tensor, " n"], radius: int, block: int) -> Float[Tensor, "n source block"]:
    """Column j holds the kernel around padded position j + radius."""
    source = torch.arange(block + 2 * radius, device=sigma.device)
    offset = (source[:, None] - source[:block] - radius).to(sigma.dtype)
    weights = (-0.5 * (offset / sigma[:, None, None]) ** 2).exp() * (offset.abs() <= radius)
    return weights / weights.sum(1, keepdim=True)
