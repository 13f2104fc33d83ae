"""Colour transforms of a batch, each with its own parameter for every sample.

All functions take floating-point images in [0, 1], return new tensors in [0, 1] and are
differentiable. Images of one channel have no saturation and no hue: those are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # ITU-R 601, as Pillow's "L"
JITTER_OPS = ("brightness", "contrast", "saturation", "hue")

Images = Float[Tensor, "n c h w"]
Flat = Float[Tensor, "n c pixels"]
PerSample = Float[Tensor, " n"]


def adjust_brightness(images: Images, factor: PerSample) -> Images:
    """``clip(factor * x, 0, 1)``.

    Examples
    --------
    >>> adjust_brightness(torch.full((1, 3, 1, 1), 0.25), torch.tensor([2.0]))[0, 0].item()
    0.5
    """
    return _adjust("brightness", images, factor)


def adjust_contrast(images: Images, factor: PerSample) -> Images:
    """``clip(factor * x + (1 - factor) * mean luma of the sample, 0, 1)``.

    Pillow rounds the mean luma to 8 bits; this does not.

    Examples
    --------
    >>> x = torch.tensor([0.25, 0.75]).view(1, 1, 1, 2)
    >>> adjust_contrast(x, torch.zeros(1)).flatten().tolist()
    [0.5, 0.5]
    """
    return _adjust("contrast", images, factor)


def adjust_saturation(images: Images, factor: PerSample) -> Images:
    """``clip(factor * x + (1 - factor) * luma(x), 0, 1)``; one channel: unchanged.

    Examples
    --------
    >>> x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> [round(v, 3) for v in adjust_saturation(x, torch.zeros(1)).flatten().tolist()]
    [0.299, 0.299, 0.299]
    """
    return _adjust("saturation", images, factor)


def adjust_hue(images: Images, shift: PerSample) -> Images:
    """Turn the HSV hue by ``shift`` turns (0.5 is the opposite colour); one channel: unchanged.

    Saturation and value stay. It equals RGB -> HSV -> RGB without a division or a branch: with
    M and m the largest and smallest channel, a turn by f <= 1 sixths is linear in r, g, b, M + m
    up to a clip, ``red = clip(r - g + (2 f - 1) b + (1 - f) (M + m), m, M)``, and so in turn for
    green and blue. Two sixths move the colours on by one channel; three give ``M + m - x``.

    Examples
    --------
    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> [abs(round(v, 3)) for v in adjust_hue(red, torch.tensor([1 / 3])).flatten().tolist()]
    [0.0, 1.0, 0.0]
    """
    return _adjust("hue", images, shift)


def colour_jitter(
    images: Images,
    brightness: PerSample,
    contrast: PerSample,
    saturation: PerSample,
    hue: PerSample,
    *,
    order: Sequence[str] = JITTER_OPS,
) -> Images:
    """Brightness, contrast, saturation and hue one after the other, in ``order``.

    Names left out of ``order`` are not applied.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> x = torch.rand(1, 3, 2, 2)
    >>> torch.allclose(colour_jitter(x, one, one, one, one * 0), x, atol=1e-6)
    True
    """
    values = (brightness, contrast, saturation, hue)
    return apply_jitter(images.clone(), plan_jitter(torch.stack(values, 1).to(images)), order)


class JitterPlan(NamedTuple):
    """Jitter parameters in the shapes that the pixel loops want, for images (n, c, pixels)."""

    brightness: Float[Tensor, "n 1 1"]
    contrast: Float[Tensor, "n 1 1"]
    saturation: Float[Tensor, "n 1 1"]
    hue: Float[Tensor, "n 3 3"]
    ends: Float[Tensor, "n 1 1"]
    luma: Float[Tensor, " 3"]

    def take(self, part: slice) -> JitterPlan:
        brightness, contrast, saturation, hue, ends = (value[part] for value in self[:-1])
        return JitterPlan(brightness, contrast, saturation, hue, ends, self.luma)


def plan_jitter(factors: Float[Tensor, "n 4"]) -> JitterPlan:
    """The part of :func:`colour_jitter` that needs no pixel."""
    brightness, contrast, saturation, hue = factors[:, :, None, None].unbind(1)
    return JitterPlan(brightness, contrast, saturation, *_turn(hue), LUMA.to(factors))


def apply_jitter(images: Images, plan: JitterPlan, order: Sequence[str]) -> Images:
    """The part of :func:`colour_jitter` that reads the pixels; it may overwrite them."""
    x = images.flatten(2)
    for name in order:
        if x.shape[1] == 1 and name in ("saturation", "hue"):
            continue
        x = _STEPS[name](x, plan)
    return x.view_as(images)


def _brightness(x: Flat, plan: JitterPlan) -> Flat:
    return x.mul_(plan.brightness).clamp_(0, 1)


def _contrast(x: Flat, plan: JitterPlan) -> Flat:
    mean = x.mean(2) @ plan.luma if x.shape[1] == 3 else x.mean((1, 2))
    mean = mean[:, None, None]
    return x.mul_(plan.contrast).add_(mean - mean * plan.contrast).clamp_(0, 1)


def _saturation(x: Flat, plan: JitterPlan) -> Flat:
    grey = torch.bmm(plan.luma.expand(len(x), 1, 3), x)
    return x.lerp_(grey, 1 - plan.saturation).clamp_(0, 1)


def _hue(x: Flat, plan: JitterPlan) -> Flat:
    top, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    ends = (top + low).mul_(plan.ends).expand_as(x)
    return torch.baddbmm(ends, plan.hue, x).clamp_(low, top)


def _turn(
    shift: Float[Tensor, "n 1 1"],
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 1 1"]]:
    """The matrix of :func:`adjust_hue`, and the share of M + m."""
    sixths = shift.remainder(1) * 6
    whole = sixths.floor().clamp(max=5)
    f = sixths - whole
    odd = whole.remainder(2)
    moved = (whole - 3 * odd) / 2  # channels by which the colours move on
    place = torch.arange(3, device=shift.device)
    column = (place - place[:, None] + moved.long()).remainder(3)
    row = torch.cat([torch.ones_like(f), -torch.ones_like(f), 2 * f - 1], 2)
    matrix = row.expand(-1, 3, -1).gather(2, column)
    return matrix * (1 - 2 * odd), torch.where(odd == 1, f, 1 - f)


_STEPS = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}


def _adjust(name: str, images: Images, value: PerSample) -> Images:
    if images.dim() != 4 or value.shape != images.shape[:1]:
        raise ValueError(
            f"adjust_{name} needs images (n, c, h, w) and one value a sample (n,), "
            f"got {tuple(images.shape)} and {tuple(value.shape)}"
        )
    if name in ("saturation", "hue"):
        if images.shape[1] == 1:
            return images
        _check_rgb(images, f"adjust_{name}")
    factors = value.unsqueeze(1).expand(-1, 4)
    return apply_jitter(images.clone(), plan_jitter(factors.to(images)), [name])


def luma(images: Float[Tensor, "n 3 *pixels"]) -> Float[Tensor, "n 1 *pixels"]:
    """``0.299 r + 0.587 g + 0.114 b``.

    Examples
    --------
    >>> round(luma(torch.ones(1, 3, 1, 1)).item(), 6)
    1.0
    """
    _check_rgb(images, "luma")
    flat = images.flatten(2)
    grey = torch.bmm(LUMA.to(flat).expand(len(flat), 1, 3), flat)
    return grey.view(len(flat), 1, *images.shape[2:])


def greyscale(images: Images) -> Images:
    """Luma in all three channels; one channel: unchanged.

    Examples
    --------
    >>> greyscale(torch.rand(1, 3, 2, 2)).std(1, correction=0).max().item()
    0.0
    """
    return images if images.shape[1] == 1 else luma(images).expand(-1, 3, -1, -1).contiguous()


def solarise(images: Images, threshold: float = 0.5) -> Images:
    """Invert (``1 - x``) the values at or above ``threshold``.

    Examples
    --------
    >>> solarise(torch.tensor([0.25, 0.75, 1.0]).view(1, 1, 1, 3)).flatten().tolist()
    [0.25, 0.25, 0.0]
    """
    inverted = 1 - images
    if threshold == 0.5:  # the same numbers, several times faster than a selection
        return torch.minimum(images, inverted)
    return torch.where(images < threshold, images, inverted)


def sample_jitter(
    n: int, strengths: Sequence[float], generator: torch.Generator
) -> list[PerSample]:
    """Factors of brightness, contrast, saturation, and shift of hue, for n samples.

    Strength s gives factors uniform in [max(0, 1 - s), 1 + s]; hue: uniform in [-s, s].

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> [len(v) for v in sample_jitter(5, (0.4, 0.4, 0.4, 0.1), g)]
    [5, 5, 5, 5]
    """
    u = torch.rand(4, n, generator=generator, device=generator.device)
    factors = [
        max(0.0, 1 - s) + (1 + s - max(0.0, 1 - s)) * v for s, v in zip(strengths[:3], u[:3])
    ]
    return [*factors, (2 * u[3] - 1) * strengths[3]]


def _check_rgb(images: Images, name: str) -> None:
    if images.dim() < 3 or images.shape[1] != 3:
        raise ValueError(f"{name} needs images (n, 3, h, w) in RGB, got {tuple(images.shape)}")
