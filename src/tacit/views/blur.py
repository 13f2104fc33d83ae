"""Gaussian blur with its own width for every sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def gaussian_blur(
    images: Float[Tensor, "n c h w"], sigma: Float[Tensor, " n"], kernel_size: int
) -> Float[Tensor, "n c h w"]:
    """Separable Gaussian blur, edges reflected (the border pixel is not repeated).

    Weights ``exp(-d^2 / (2 sigma^2))`` for ``|d| <= kernel_size // 2``, normalised to sum 1.
    Each axis is a product with a band matrix, in blocks so short that few of its numbers are zero.

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
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    taps = (-0.5 * (offset / sigma[:, None]) ** 2).exp()
    taps = taps / taps.sum(1, keepdim=True)
    height, width = images.shape[-2:]
    rows, columns = _block(height, radius), _block(width, radius)
    spare = (-width % columns, -height % rows)
    pad = (radius, radius + spare[0], radius, radius + spare[1])
    padded = F.pad(images, pad, mode="reflect")
    n, channels, tall, _ = padded.shape
    parts = padded.unfold(3, columns + 2 * radius, columns)
    across = parts.reshape(n, -1, columns + 2 * radius) @ _band(taps, columns).mT
    across = across.view(n, channels, tall, -1)
    parts = across.unfold(2, rows + 2 * radius, rows).mT
    out = (_band(taps, rows)[:, None, None] @ parts).flatten(2, 3)
    return out[:, :, :height, :width]


def _block(side: int, radius: int) -> int:
    """Positions that one product makes: about 32, or all where the kernel is not much smaller."""
    blocks = -(-side // 32) if 4 * radius < side else 1
    return -(-side // blocks)


def _band(taps: Float[Tensor, "n k"], side: int) -> Float[Tensor, "n side longer"]:
    """Row i holds the taps from column i on."""
    kernel = taps.shape[1]
    start = torch.arange(side, device=taps.device)[:, None]
    place = (start + torch.arange(kernel, device=taps.device)).expand(len(taps), -1, -1)
    band = taps.new_zeros(len(taps), side, side + kernel - 1)
    return band.scatter_(2, place, taps[:, None].expand_as(place))
