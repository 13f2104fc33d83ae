"""The random parameters of a view, drawn for a whole batch before any image is touched."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tacit.views.colour import JITTER_OPS, sample_jitter
from tacit.views.config import ViewsConfig
from tacit.views.crop import centre_boxes, sample_boxes


class Geometry(NamedTuple):
    """Where each view came from: ``view = transpose(vflip(hflip(resize(crop))))``.

    ``boxes`` (top, left, height, width) are in pixels of the raw image; the flags are per sample.
    """

    boxes: Int[Tensor, "n 4"]
    hflip: Bool[Tensor, " n"]
    vflip: Bool[Tensor, " n"]
    transpose: Bool[Tensor, " n"]


@dataclass(frozen=True)
class Draws:
    """Parameters of n samples; flags say which samples an operation applies to."""

    boxes: Int[Tensor, "n 4"]
    hflip: Bool[Tensor, " n"]
    vflip: Bool[Tensor, " n"]
    transpose: Bool[Tensor, " n"]
    jitter: Bool[Tensor, " n"]
    factors: Float[Tensor, "n 4"]
    grey: Bool[Tensor, " n"]
    blur: Bool[Tensor, " n"]
    sigma: Float[Tensor, " n"]
    solarise: Bool[Tensor, " n"]

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.boxes, self.hflip, self.vflip, self.transpose)

    def take(self, index: Tensor | slice) -> Draws:
        """The parameters of some samples."""
        return Draws(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def draw(config: ViewsConfig, n: int, height: int, width: int, generator: torch.Generator) -> Draws:
    """Draw every parameter of ``config`` for n images of height x width pixels.

    Always the same amount of random numbers for the same n, whatever the probabilities.

    Examples
    --------
    >>> config = ViewsConfig(size=8, hflip=1.0)
    >>> draw(config, 3, 8, 8, torch.Generator().manual_seed(0)).hflip.tolist()
    [True, True, True]
    """
    device = generator.device
    if config.area is None:
        boxes = centre_boxes(n, height, width).to(device)
    else:
        boxes = sample_boxes(
            n, height, width, area=config.area, aspect=config.aspect, generator=generator
        )
    u = torch.rand(9, n, generator=generator, device=device)
    chances = (config.hflip, config.vflip, config.jitter, config.grey, config.blur, config.solarise)
    hflip, vflip, jitter, grey, blur, solarise = (
        u[:6] < torch.tensor(chances, device=device)[:, None]
    )
    # A quarter turn is a mirror then a transpose; a half turn is both mirrors.
    quarter = (u[6] * 3).long()
    turned = u[7] < config.turn
    low, high = config.blur_sigma
    return Draws(
        boxes=boxes,
        hflip=hflip ^ (turned & (quarter <= 1)),
        vflip=vflip ^ (turned & (quarter >= 1)),
        transpose=turned & (quarter != 1),
        jitter=jitter,
        factors=torch.stack(sample_jitter(n, config.strengths, generator), 1),
        grey=grey,
        blur=blur,
        sigma=low + (high - low) * u[8],
        solarise=solarise,
    )


def draw_orders(count: int, generator: torch.Generator) -> list[list[str]]:
    """``count`` random orders of the four parts of the colour jitter.

    Examples
    --------
    >>> sorted(draw_orders(1, torch.Generator().manual_seed(0))[0])
    ['brightness', 'contrast', 'hue', 'saturation']
    """
    u = torch.rand(count, len(JITTER_OPS), generator=generator, device=generator.device)
    return [[JITTER_OPS[i] for i in order] for order in u.argsort(1).tolist()]
