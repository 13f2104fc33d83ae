"""Random resized crop: sampling of boxes, and one fused crop + resize + flip for a whole batch.

A crop, a resize and a mirror are linear along each axis: ``out = rows @ image @ columns.T``. Each
output row mixes a few source rows, so that side of the product is a sum of few weighted rows; the
other is one batched matrix product.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]
_TRIES = 10
_REACH = {
    "bilinear": 1,
    "bicubic": 2,
}  # source pixels on either side that a filter sees


def sample_boxes(
    n: int,
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator,
) -> Int[Tensor, "n 4"]:
    """Boxes of a random resized crop, (top, left, height, width) in whole source pixels.

    Area is uniform in ``area`` (share of the image), width/height log-uniform in ``aspect``; the
    first of 10 tries that fits in the image is kept, otherwise the largest central box whose
    aspect is inside the range. This is torchvision's rule with all tries drawn at once: the same
    distribution, from another stream of random numbers.

    Parameters
    ----------
    n, height, width : number of boxes; size of the source images in pixels.
    area : lowest and highest share of the image's area, in (0, 1].
    aspect : lowest and highest width / height.
    generator : source of the random numbers; the boxes are on its device.

    Returns
    -------
    int64 tensor (n, 4).

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> sample_boxes(2, 32, 32, area=(0.25, 0.25), aspect=(1.0, 1.0), generator=g)[:, 2:].tolist()
    [[16, 16], [16, 16]]
    """
    device = generator.device
    u = torch.rand(3, n, _TRIES, generator=generator, device=device)
    side = ((area[0] + (area[1] - area[0]) * u[0]) * (height * width)).sqrt()
    low, high = math.log(aspect[0]), math.log(aspect[1])
    root = ((low + (high - low) * u[1]) / 2).exp()
    w, h = (side * root).round(), (side / root).round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.byte().argmax(1, keepdim=True)

    ratio = min(max(width / height, aspect[0]), aspect[1])
    wide = min(width, max(1, round(height * ratio)))
    tall = min(height, max(1, round(width / ratio)))
    found = fits.gather(1, first)
    w = torch.where(found, w.gather(1, first), float(wide))[:, 0]
    h = torch.where(found, h.gather(1, first), float(tall))[:, 0]
    # rand < 1, but u * (k + 1) may round up to k + 1
    top = torch.minimum((u[2, :, 0] * (height - h + 1)).floor(), height - h)
    left = torch.minimum((u[2, :, 1] * (width - w + 1)).floor(), width - w)
    middle = ~found[:, 0]
    top = torch.where(middle, ((height - h) / 2).round(), top)
    left = torch.where(middle, ((width - w) / 2).round(), left)
    return torch.stack([top, left, h, w], 1).long()


def centre_boxes(n: int, height: int, width: int) -> Int[Tensor, "n 4"]:
    """The central square of an image, n times: (top, left, side, side).

    Examples
    --------
    >>> centre_boxes(1, 20, 30).tolist()
    [[0, 5, 20, 20]]
    """
    side = min(height, width)
    box = [(height - side) // 2, (width - side) // 2, side, side]
    return torch.tensor(box).expand(n, 4)


def resample(
    images: Num[Tensor, "n c height width"],
    boxes: Num[Tensor, "n 4"],
    size: int,
    *,
    hflip: Bool[Tensor, " n"] | None = None,
    vflip: Bool[Tensor, " n"] | None = None,
    interpolation: Interpolation = "bilinear",
) -> Float[Tensor, "n c size size"]:
    """Cut each sample's box, resize it to ``size`` x ``size`` with antialiasing, mirror it.

    Equal to ``F.interpolate(box, size, mode, antialias=True)`` and to Pillow's ``resize`` of the
    cropped image (without Pillow's 8-bit rounding): the filter is widened by the scale when the
    box shrinks, and pixels outside the box never leak in. Bicubic results are clipped to [0, 1].

    Parameters
    ----------
    images : uint8 in 0..255, or floating point in [0, 1].
    boxes : (top, left, height, width) in source pixels.
    size : side of the output, in pixels.
    hflip, vflip : mirror left-right, top-bottom, for each sample; none by default.
    interpolation : "bilinear" or "bicubic".

    Returns
    -------
    float tensor (n, c, size, size) in [0, 1]; float32 for uint8 input, else the input's type.

    Examples
    --------
    >>> x = torch.arange(4.0).view(1, 1, 2, 2) / 3
    >>> resample(x, torch.tensor([[0, 0, 2, 2]]), 1).item()
    0.5
    """
    if images.dim() != 4 or boxes.shape != (len(images), 4):
        raise ValueError(
            f"resample needs images (n, c, height, width) and boxes (n, 4), "
            f"got {tuple(images.shape)} and {tuple(boxes.shape)}"
        )
    kind = images.dtype if images.is_floating_point() else torch.float32
    height, width = images.shape[-2:]
    plan = plan_resample(
        boxes.to(kind),
        height,
        width,
        size,
        hflip=hflip,
        vflip=vflip,
        interpolation=interpolation,
    )
    out = apply_resample(images, plan)
    return out.clamp_(0, 1) if interpolation == "bicubic" else out


class ResamplePlan(NamedTuple):
    """The source rows and columns that each output pixel mixes, and their shares."""

    rows: Int[Tensor, "n size taps"]
    down: Float[Tensor, "n size taps"]
    columns: Int[Tensor, "n taps size"]
    across: Float[Tensor, "n taps size"]

    def take(self, part: slice) -> ResamplePlan:
        return ResamplePlan(*(value[part] for value in self))


def plan_resample(
    boxes: Float[Tensor, "n 4"],
    height: int,
    width: int,
    size: int,
    *,
    hflip: Bool[Tensor, " n"] | None = None,
    vflip: Bool[Tensor, " n"] | None = None,
    interpolation: Interpolation = "bilinear",
    longest: float | None = None,
) -> ResamplePlan:
    """The part of :func:`resample` that needs no image; arguments as there.

    ``longest`` is the longest side of a box, which spares a GPU the waiting for it.
    """
    start, length = boxes.view(-1, 2, 2, 1, 1).unbind(1)
    step = length / size
    widen = step.clamp(min=1)  # antialiasing: the filter grows with the scale
    targets = torch.arange(0.5, size, dtype=boxes.dtype, device=boxes.device)
    if hflip is not None or vflip is not None:
        none = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        flips = torch.stack([none if flip is None else flip for flip in (vflip, hflip)], 1)
        targets = torch.where(flips[:, :, None, None], size - targets, targets)
    centre = start - 0.5 + targets * step  # pixel i is at i
    longest = float(boxes[:, 2:].max()) if longest is None else longest
    taps = math.ceil(2 * _REACH[interpolation] * max(longest / size, 1.0))
    index = (centre - widen * _REACH[interpolation]).floor_().add_(1)
    index = index + torch.arange(taps, dtype=boxes.dtype, device=boxes.device)[:, None]
    # Pixels of the box alone; where the box leaves the image, those of the image.
    low = start.clamp(min=0)
    high = torch.minimum(start + length, boxes.new_tensor([[[height]], [[width]]]))
    inside = ((low + high - 1) / 2 - index).abs_().sub_((high - low) / 2).sign_().clamp_(max=0)
    weight = _filter((index - centre).abs_().div_(widen), interpolation).mul_(inside)
    index = torch.minimum(index.clamp_(min=0), high.ceil() - 1).long()
    (rows, columns), (down, across) = (
        x.unbind(1) for x in (index, weight.div_(weight.sum(2, keepdim=True)))
    )
    return ResamplePlan(rows.mT.contiguous(), down.mT.contiguous(), columns, across)


def apply_resample(
    images: Num[Tensor, "n c height width"], plan: ResamplePlan
) -> Float[Tensor, "n c size size"]:
    """The part of :func:`resample` that reads the images; bicubic results are not clipped."""
    down = plan.down
    if not images.is_floating_point():
        images = images.to(torch.float32, memory_format=torch.contiguous_format)
        down = down * (1 / 255)
    n, channels, height, width = images.shape
    size, taps = down.shape[1:]
    first = torch.arange(0, n * channels * height, height, device=images.device)
    bags = (first.view(n, channels, 1) + plan.rows.flatten(1).unsqueeze(1)).view(-1, taps)
    shares = down.unsqueeze(1).expand(-1, channels, -1, -1).reshape(-1, taps)
    table = images.reshape(-1, width)
    out = F.embedding_bag(bags, table, per_sample_weights=shares, mode="sum")
    matrix = out.new_zeros(n, width, size).scatter_add_(1, plan.columns, plan.across)
    return torch.bmm(out.view(n, channels * size, width), matrix).view(n, channels, size, size)


def resample_each(
    images: Num[Tensor, "n c height width"],
    boxes: Int[Tensor, "n 4"],
    size: int,
    *,
    hflip: Bool[Tensor, " n"],
    vflip: Bool[Tensor, " n"],
    interpolation: Interpolation = "bilinear",
) -> Float[Tensor, "n c size size"]:
    """:func:`resample`, one image after the other with the library's kernel.

    Made for CPUs and large views: there a kernel that knows which few weights are not zero is
    faster than one product for all. Views of uint8 images are rounded to 8 bits, as Pillow's are.
    """
    settings = zip(images, boxes.tolist(), hflip.tolist(), vflip.tolist())
    views = []
    for image, (top, left, height, width), mirror, turn in settings:
        cut = image[None, :, top : top + height, left : left + width]
        view = F.interpolate(cut, (size, size), mode=interpolation, antialias=True)
        axes = [axis for axis, flipped in ((2, turn), (3, mirror)) if flipped]
        views.append(view.flip(axes) if axes else view)
    out = torch.cat(views) if len(views) > 1 else views[0]
    if images.is_floating_point():
        return out.clamp_(0, 1) if interpolation == "bicubic" else out
    return out.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)


def _filter(distance: Tensor, interpolation: str) -> Tensor:
    """Minus the weight of a source pixel by its distance, in units of the filter's width."""
    if interpolation == "bilinear":
        return distance.sub_(1).clamp_(max=0)
    # Keys' cubic with a = -1/2, as Pillow
    d = distance.clamp_(max=2)
    near = (2.5 - 1.5 * d) * d * d - 1
    far = ((0.5 * d - 2.5) * d + 4) * d - 2
    return torch.where(d < 1, near, far)
