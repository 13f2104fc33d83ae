"""Crop, resize and mirror against per-image references; the distribution of the boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tacit.views import resample, sample_boxes
from tacit.views.crop import resample_each

BOXES = torch.tensor(
    [[0, 0, 41, 53], [3, 7, 20, 11], [30, 2, 5, 51], [12, 40, 29, 13], [8, 8, 1, 1]]
)


def images(n: int, height: int = 41, width: int = 53, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), generator=g, dtype=torch.uint8)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [1, 16, 64])
def test_equals_torch_antialiased_resize_of_each_crop(mode: str, size: int) -> None:
    raw = images(len(BOXES))
    ours = resample(raw, BOXES, size, interpolation=mode)
    for x, (top, left, tall, wide), out in zip(raw, BOXES.tolist(), ours):
        crop = x[None, :, top : top + tall, left : left + wide].float() / 255
        reference = F.interpolate(crop, (size, size), mode=mode, antialias=True)[0]
        torch.testing.assert_close(out, reference.clamp(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_equals_pillow_crop_then_resize_up_to_its_rounding(mode: str) -> None:
    # Middle values: Pillow also clips between the two axes, which bicubic overshoot would show.
    raw = images(len(BOXES)) // 2 + 64
    ours = resample(raw, BOXES, 24, interpolation=mode)
    for x, (top, left, tall, wide), out in zip(raw, BOXES.tolist(), ours):
        picture = Image.fromarray(x.permute(1, 2, 0).numpy())
        crop = picture.crop((left, top, left + wide, top + tall))
        reference = np.asarray(crop.resize((24, 24), Image.Resampling[mode.upper()]))
        difference = np.abs(out.permute(1, 2, 0).numpy() * 255 - reference)
        assert difference.max() < 1.51  # two roundings to 8 bits, one an axis


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_one_after_the_other_equals_all_at_once(mode: str, channels: int) -> None:
    raw = images(len(BOXES)).repeat(1, 2, 1, 1)[:, :channels] // 2 + 64
    flips = {"hflip": torch.arange(5) % 2 == 0, "vflip": torch.arange(5) > 2}
    for size in (2, 24, 64):
        wanted = resample(raw / 255, BOXES, size, interpolation=mode, **flips)
        exact = resample_each(raw / 255, BOXES, size, interpolation=mode, **flips)
        torch.testing.assert_close(exact, wanted, atol=1e-5, rtol=0)
        rounded = resample_each(raw, BOXES, size, interpolation=mode, **flips)
        assert rounded.dtype == torch.float32
        assert rounded.is_contiguous()
        assert (rounded - wanted).abs().max() < 1.51 / 255  # two roundings to 8 bits, one an axis


def test_one_image_alone_equals_the_image_in_a_batch() -> None:
    raw = images(len(BOXES))
    together = resample(raw, BOXES, 10)
    for i in range(len(BOXES)):
        alone = resample(raw[i : i + 1], BOXES[i : i + 1], 10)
        torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=0)


def test_mirrors_are_mirrors() -> None:
    raw, yes, no = images(5), torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    plain = resample(raw, BOXES, 12, hflip=no, vflip=no)
    torch.testing.assert_close(resample(raw, BOXES, 12, hflip=yes), plain.flip(3))
    torch.testing.assert_close(resample(raw, BOXES, 12, vflip=yes), plain.flip(2))
    some = torch.tensor([True, False, True, False, False])
    mixed = resample(raw, BOXES, 12, hflip=some, vflip=~some)
    torch.testing.assert_close(mixed[0], plain[0].flip(2))
    torch.testing.assert_close(mixed[1], plain[1].flip(1))


def test_whole_image_at_its_size_is_the_image() -> None:
    raw = images(3, 20, 20)
    whole = torch.tensor([[0, 0, 20, 20]]).expand(3, 4)
    torch.testing.assert_close(resample(raw, whole, 20), raw.float() / 255)


def test_float64_keeps_its_type_and_has_a_gradient() -> None:
    x = torch.rand(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 1, 5, 4], [2, 0, 3, 3]])
    flip = torch.tensor([True, False])
    assert torch.autograd.gradcheck(lambda v: resample(v, boxes, 4, hflip=flip), (x,))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 999))
def test_constant_images_stay_constant(height: int, width: int, size: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    boxes = sample_boxes(3, height, width, area=(0.05, 1), aspect=(0.5, 2), generator=g)
    x = torch.full((3, 2, height, width), 0.7, dtype=torch.float64)
    torch.testing.assert_close(resample(x, boxes, size), x.new_full((3, 2, size, size), 0.7))


def test_boxes_stay_inside_and_follow_the_ranges() -> None:
    g = torch.Generator().manual_seed(0)
    boxes = sample_boxes(20_000, 300, 400, area=(0.08, 1), aspect=(3 / 4, 4 / 3), generator=g)
    top, left, tall, wide = boxes.unbind(1)
    assert boxes.dtype == torch.int64
    assert min(top.min(), left.min()) >= 0
    assert min(tall.min(), wide.min()) >= 1
    assert (top + tall).max() <= 300
    assert (left + wide).max() <= 400
    ratio = wide / tall
    assert 0.73 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.36


def kolmogorov(values: Tensor, cdf: Tensor) -> float:
    """Largest distance between the empirical distribution of sorted values and ``cdf`` at them."""
    steps = torch.arange(1, len(values) + 1) / len(values)
    return (steps - cdf).abs().max().item()


def test_small_areas_are_uniform_and_aspects_log_uniform() -> None:
    # Areas up to 40 % always fit at these aspects, so no try is refused.
    g, n = torch.Generator().manual_seed(1), 20_000
    boxes = sample_boxes(n, 2000, 2000, area=(0.1, 0.4), aspect=(3 / 4, 4 / 3), generator=g)
    area = (boxes[:, 2] * boxes[:, 3] / 2000**2).sort().values
    logs = (boxes[:, 3] / boxes[:, 2]).log().sort().values
    bound = 1.63 / math.sqrt(n)  # 1 % level
    assert kolmogorov(area, (area - 0.1) / 0.3) < bound
    low = math.log(3 / 4)
    assert kolmogorov(logs, (logs - low) / (-2 * low)) < bound


def test_positions_are_uniform() -> None:
    g, n = torch.Generator().manual_seed(2), 18_000
    boxes = sample_boxes(n, 8, 8, area=(0.5625, 0.5625), aspect=(1, 1), generator=g)  # 6 x 6
    counts = torch.bincount(boxes[:, 0] * 3 + boxes[:, 1], minlength=9).double()
    chi2 = ((counts - n / 9) ** 2 / (n / 9)).sum()
    assert len(counts) == 9
    assert chi2 < 20.1  # 8 degrees of freedom, 1 % level


def test_accepted_areas_match_the_sequential_rule() -> None:
    # With areas up to 1 wide and tall tries are refused: compare with one try after the other.
    rng, areas = np.random.default_rng(0), []
    for _ in range(20_000):
        for _ in range(10):
            side = math.sqrt(rng.uniform(0.08, 1)) * 224
            root = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)) / 2)
            w, h = round(side * root), round(side / root)
            if w <= 224 and h <= 224:
                break
        else:
            w = h = 224
        areas.append(w * h / 224**2)
    g = torch.Generator().manual_seed(3)
    boxes = sample_boxes(20_000, 224, 224, area=(0.08, 1), aspect=(3 / 4, 4 / 3), generator=g)
    ours = (boxes[:, 2] * boxes[:, 3] / 224**2).double()
    marks = torch.linspace(0.1, 0.95, 18, dtype=torch.float64)
    reference = torch.tensor(areas, dtype=torch.float64)
    gap = (ours[:, None] < marks).double().mean(0) - (reference[:, None] < marks).double().mean(0)
    assert gap.abs().max() < 1.63 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize(("height", "width"), [(4, 400), (400, 4)])
def test_long_images_fall_back_to_the_central_box(height: int, width: int) -> None:
    g = torch.Generator().manual_seed(0)
    boxes = sample_boxes(5, height, width, area=(0.9, 1), aspect=(3 / 4, 4 / 3), generator=g)
    top, left, tall, wide = boxes[0].tolist()
    assert (boxes == boxes[0]).all()
    assert (tall, wide) == ((4, 5) if height < width else (5, 4))
    assert abs(2 * top + tall - height) <= 1
    assert abs(2 * left + wide - width) <= 1


def test_one_pixel_images() -> None:
    g = torch.Generator().manual_seed(0)
    boxes = sample_boxes(4, 1, 1, area=(0.08, 1), aspect=(3 / 4, 4 / 3), generator=g)
    assert boxes.tolist() == [[0, 0, 1, 1]] * 4


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="boxes"):
        resample(images(3), BOXES, 8)
    with pytest.raises(ValueError, match="images"):
        resample(images(5)[0], BOXES, 8)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_boxes_off_the_pixel_grid_and_beyond_the_image(mode: str) -> None:
    # The same as the definition: weights of the pixels whose centres the box holds, of sum 1.
    raw = images(3, 11, 9).double() / 510 + 0.25
    boxes = torch.tensor([[0.3, 1.2, 7.1, 4.4], [-0.6, -0.5, 12.0, 10.0], [2.5, 0.0, 3.0, 8.6]])
    boxes, size = boxes.double(), 6
    ours = resample(raw, boxes, size, interpolation=mode)

    def weights(start: float, length: float, side: int) -> Tensor:
        pixel = torch.arange(side, dtype=torch.float64) + 0.5
        step = length / size
        centre = start + (torch.arange(size, dtype=torch.float64)[:, None] + 0.5) * step
        d = ((pixel - centre) / max(step, 1)).abs()
        near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
        cubic = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
        w = (1 - d).clamp(min=0) if mode == "bilinear" else cubic
        w = w * ((pixel > start) & (pixel < start + length))
        return w / w.sum(1, keepdim=True)

    for x, (top, left, tall, wide), out in zip(raw, boxes.tolist(), ours):
        wanted = weights(top, tall, 11) @ x @ weights(left, wide, 9).T
        torch.testing.assert_close(out, wanted.clamp(0, 1), atol=1e-12, rtol=0)
