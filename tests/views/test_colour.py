"""Colour operations against per-image and per-pixel references."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from skimage.color import hsv2rgb, rgb2hsv
from torch import Tensor

from tacit.views import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    colour_jitter,
    greyscale,
    luma,
    solarise,
)
from tacit.views.colour import sample_jitter

FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.3, 1.8])


def eight_bit(n: int = 5, seed: int = 0) -> Tensor:
    """Images of 0..255, some pixels grey, black, white or saturated."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, 3, 12, 10), generator=g, dtype=torch.uint8)
    x[:, :, 0] = x[:, :1, 0]
    x[:, :, 1, :3], x[:, :, 1, 3:6] = 0, 255
    x[:, 0, 2], x[:, 1, 2] = 255, 0
    return x


def pillow(x: Tensor) -> Image.Image:
    return Image.fromarray(x.permute(1, 2, 0).contiguous().numpy())


@pytest.mark.parametrize(
    ("ours", "enhancer"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_equals_pillow_up_to_its_rounding(ours, enhancer) -> None:  # type: ignore[no-untyped-def]
    raw = eight_bit()
    out = ours(raw / 255, FACTORS) * 255
    for x, factor, y in zip(raw, FACTORS.tolist(), out):
        reference = np.asarray(enhancer(pillow(x)).enhance(factor)).astype(float)
        assert np.abs(y.permute(1, 2, 0).numpy() - reference).max() < 2.01


def test_contrast_and_saturation_by_their_formulas() -> None:
    x = torch.rand(5, 3, 7, 6, dtype=torch.float64)
    factor = FACTORS.double()
    grey = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    f = factor[:, None, None, None]
    contrast = (f * x + (1 - f) * grey.mean((1, 2, 3), keepdim=True)).clamp(0, 1)
    torch.testing.assert_close(adjust_contrast(x, factor), contrast, atol=1e-12, rtol=0)
    saturation = (f * x + (1 - f) * grey).clamp(0, 1)
    torch.testing.assert_close(adjust_saturation(x, factor), saturation, atol=1e-12, rtol=0)
    torch.testing.assert_close(luma(x), grey, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.1, 0.0, 0.04, 0.2, 1 / 3, 0.5, 0.77, -1.2])
def test_hue_equals_colour_space_conversion(shift: float) -> None:
    x = eight_bit(2).double() / 255
    ours = adjust_hue(x, torch.full((2,), shift, dtype=torch.float64))
    hsv = rgb2hsv(x.permute(0, 2, 3, 1).numpy())
    hsv[..., 0] = (hsv[..., 0] + shift) % 1
    reference = torch.from_numpy(hsv2rgb(hsv)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, reference, atol=1e-12, rtol=0)


def test_hue_equals_colorsys_at_every_corner_of_the_cube() -> None:
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    pixels = torch.cartesian_prod(levels, levels, levels)
    for shift in np.linspace(-0.5, 0.5, 13):
        ours = adjust_hue(pixels.T.reshape(1, 3, 8, 8), torch.tensor([shift]))
        for rgb, out in zip(pixels.tolist(), ours.reshape(3, -1).T.tolist()):
            h, s, v = colorsys.rgb_to_hsv(*rgb)
            assert out == pytest.approx(colorsys.hsv_to_rgb((h + shift) % 1, s, v), abs=1e-12)


def test_hue_of_each_sample_and_its_inverse() -> None:
    x = torch.rand(4, 3, 5, 5)
    shift = torch.tensor([0.1, -0.2, 0.45, 0.0])
    turned = adjust_hue(x, shift)
    torch.testing.assert_close(turned[3], x[3], atol=1e-6, rtol=0)
    torch.testing.assert_close(adjust_hue(turned, -shift), x, atol=2e-6, rtol=0)
    torch.testing.assert_close(turned.amax(1), x.amax(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned.amin(1), x.amin(1), atol=1e-6, rtol=0)


def test_jitter_is_the_composition_in_its_order() -> None:
    x, g = torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.Generator().manual_seed(0)
    b, c, s, h = sample_jitter(6, (0.8, 0.8, 0.8, 0.2), g)
    order = ["hue", "contrast", "brightness", "saturation"]
    expected = adjust_hue(x, h)
    expected = adjust_contrast(expected, c)
    expected = adjust_brightness(expected, b)
    expected = adjust_saturation(expected, s)
    torch.testing.assert_close(colour_jitter(x, b, c, s, h, order=order), expected)
    other = colour_jitter(x, b, c, s, h)
    assert (other - expected).abs().max() > 0.01  # clipping makes the order matter


def test_jitter_parameters_have_their_ranges() -> None:
    g = torch.Generator().manual_seed(0)
    b, c, s, h = sample_jitter(20_000, (0.4, 0.8, 1.5, 0.1), g)
    for value, low, high in [(b, 0.6, 1.4), (c, 0.2, 1.8), (s, 0.0, 2.5), (h, -0.1, 0.1)]:
        ordered = value.sort().values
        cdf = (ordered - low) / (high - low)
        assert cdf[0] >= 0
        assert cdf[-1] <= 1
        steps = torch.arange(1, 20_001) / 20_000
        assert (steps - cdf).abs().max() < 1.63 / 20_000**0.5


def test_grey_and_solarise() -> None:
    raw = eight_bit()
    grey = greyscale(raw / 255)
    inverted = solarise(raw / 255)
    for x, y, z in zip(raw, grey, inverted):
        reference = np.asarray(pillow(x).convert("L")).astype(float)
        assert np.abs(y.numpy() * 255 - reference).max() < 0.51
        solarised = torch.from_numpy(np.asarray(ImageOps.solarize(pillow(x), 128)).copy())
        torch.testing.assert_close(z, solarised.permute(2, 0, 1) / 255, atol=1e-6, rtol=0)
    x = torch.tensor([0.1, 0.3, 0.9]).view(1, 1, 1, 3)
    torch.testing.assert_close(solarise(x, 0.3).flatten(), torch.tensor([0.1, 0.7, 0.1]))


def test_one_channel_has_no_colour() -> None:
    x, one = torch.rand(2, 1, 4, 4), torch.tensor([0.3, 1.7])
    assert torch.equal(adjust_saturation(x, one), x)
    assert torch.equal(adjust_hue(x, one), x)
    assert torch.equal(greyscale(x), x)
    mean = x.mean((2, 3), keepdim=True)
    f = one[:, None, None, None]
    torch.testing.assert_close(adjust_contrast(x, one), (f * x + (1 - f) * mean).clamp(0, 1))
    jittered = colour_jitter(x, one, one, one, one)
    torch.testing.assert_close(jittered, adjust_contrast(adjust_brightness(x, one), one))


@pytest.mark.parametrize("op", [adjust_contrast, adjust_saturation, adjust_hue, adjust_brightness])
def test_gradients(op) -> None:  # type: ignore[no-untyped-def]
    x = 0.2 + 0.6 * torch.rand(2, 3, 2, 3, dtype=torch.float64)
    value = torch.tensor([0.9, 1.1] if op is not adjust_hue else [0.07, -0.3])
    assert torch.autograd.gradcheck(lambda v: op(v, value.double()), (x.requires_grad_(),))


@pytest.mark.parametrize("op", [adjust_saturation, adjust_hue])
def test_two_channels_are_refused(op) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"\(n, 3, h, w\)"):
        op(torch.rand(2, 2, 4, 4), torch.ones(2))


@pytest.mark.parametrize("op", [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue])
def test_one_value_a_sample(op) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="one value a sample"):
        op(torch.rand(2, 3, 4, 4), torch.ones(3))
