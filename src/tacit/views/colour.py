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

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"
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
    M and m the largest and smallest channel and c = M - m, six times the hue times c, measured
    from red and signed, is ``sign(g - b) * (M - 2m + g + b - r)`` in [-3c, 3c]; the shift adds
    ``6 * shift * c``, and each channel is a clipped linear function of the result.

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
    return apply_jitter(images, plan_jitter(torch.stack(values, 1).to(images)), order)


class JitterPlan(NamedTuple):
    """Jitter parameters in the shapes that the pixel loops want, for images (n, c, pixels)."""

    brightness: Float[Tensor, "n 1 1"]
    contrast: Float[Tensor, "n 1 1"]
    saturation: Float[Tensor, "n c c"]
    hue: Float[Tensor, "n 1"]

    def take(self, part: slice) -> JitterPlan:
        return JitterPlan(*(value[part] for value in self))


def plan_jitter(factors: Float[Tensor, "n 4"]) -> JitterPlan:
    """The part of :func:`colour_jitter` that needs no pixel."""
    brightness, contrast, saturation, hue = factors.unsqueeze(-1).unbind(1)
    eye = torch.eye(3, dtype=factors.dtype, device=factors.device)
    factor = saturation.unsqueeze(-1)
    return JitterPlan(
        brightness.unsqueeze(-1),
        contrast.unsqueeze(-1),
        factor * eye + (1 - factor) * eye.new_tensor(LUMA),
        (hue - hue.round()) * 6,
    )


def apply_jitter(images: Images, plan: JitterPlan, order: Sequence[str]) -> Images:
    """The part of :func:`colour_jitter` that reads the pixels."""
    x = images.flatten(2)
    for name in order:
        if x.shape[1] == 1 and name in ("saturation", "hue"):
            continue
        x = _STEPS[name](x, getattr(plan, name))
    return x.view_as(images)


def _brightness(x: Flat, factor: Tensor) -> Flat:
    return (x * factor).clamp_(0, 1)


def _contrast(x: Flat, factor: Tensor) -> Flat:
    mean = x.mean(2, keepdim=True)
    mean = luma(mean) if x.shape[1] == 3 else mean.mean(1, keepdim=True)
    return (x * factor).add_(mean - mean * factor).clamp_(0, 1)


def _saturation(x: Flat, matrix: Tensor) -> Flat:
    return torch.bmm(matrix, x).clamp_(0, 1)


def _hue(x: Flat, turns: Tensor) -> Flat:
    r, g, b = x.unbind(1)
    top, low = x.amax(1), x.amin(1)
    chroma = top - low
    angle = (g - r).add_(b).add_(chroma).sub_(low).copysign_(g - b)
    angle = torch.addcmul(angle, chroma, turns)
    # Fold back to [-3c, 3c]: `fold` is 3c less the distance from red; `side` the side it is on.
    over = angle.abs().sub_(chroma, alpha=3)
    side = angle * over
    fold = over.abs()
    away = fold.sub(chroma, alpha=3).copysign_(side)  # minus the folded angle
    base = torch.sub(low, chroma, alpha=2)
    red = fold.sub_(chroma).add_(low).clamp_(low, top)
    green = torch.maximum((low - away).clamp_(low, top), base + away)
    blue = torch.maximum((low + away).clamp_(low, top), base.sub_(away))
    return torch.stack([red, green, blue], 1)


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
    return apply_jitter(images, plan_jitter(factors.to(images)), [name])


def luma(images: Float[Tensor, "n 3 *pixels"]) -> Float[Tensor, "n 1 *pixels"]:
    """``0.299 r + 0.587 g + 0.114 b``.

    Examples
    --------
    >>> round(luma(torch.ones(1, 3, 1, 1)).item(), 6)
    1.0
    """
    _check_rgb(images, "luma")
    r, g, b = images.split(1, 1)
    return (LUMA[0] * r).add_(g, alpha=LUMA[1]).add_(b, alpha=LUMA[2])


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


def mix_channels(
    images: Images, matrix: Float[Tensor, "n c c"], bias: Float[Tensor, "c 1"] | None = None
) -> Images:
    """``matrix @ x + bias`` at every pixel: any linear colour map, one for each sample.

    Examples
    --------
    >>> x = torch.rand(2, 3, 4, 4)
    >>> torch.equal(mix_channels(x, torch.eye(3).expand(2, 3, 3)), x)
    True
    """
    flat = images.flatten(2)
    out = torch.bmm(matrix, flat) if bias is None else torch.baddbmm(bias, matrix, flat)
    return out.view_as(images)


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
