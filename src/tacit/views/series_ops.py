"""Random transforms of batches of series (n, C, T); every sample has its own random numbers.

Each takes a generator on any device and gives a new tensor of the same shape. Series are thought
of as standardised (standard deviation about 1), so strengths have no unit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Series = Float[Tensor, "n channels time"]


def uniform(generator: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    """Numbers from [0, 1) of this shape, on the device and of the type of `like`."""
    return torch.rand(*shape, generator=generator, device=generator.device).to(like)


def normal(generator: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers of this shape, on the device and of the type of `like`."""
    return torch.randn(*shape, generator=generator, device=generator.device).to(like)


def jitter(x: Series, sigma: float, generator: torch.Generator) -> Series:
    """Add white noise of standard deviation `sigma`.

    >>> jitter(torch.zeros(1, 1, 9), 0.0, torch.Generator()).abs().max()
    tensor(0.)
    """
    return x + sigma * normal(generator, x, *x.shape)


def scaling(x: Series, sigma: float, generator: torch.Generator) -> Series:
    """Multiply every channel of every sample by a factor from N(1, sigma^2)."""
    return x * (1 + sigma * normal(generator, x, *x.shape[:2], 1))


def permutation(x: Series, most: int, generator: torch.Generator) -> Series:
    """Cut every series into 2 to `most` pieces of nearly equal length and shuffle them.

    All channels of a sample are cut alike. The values are kept, only their order changes.
    """
    n, _, time = x.shape
    most = min(most, time)
    if most < 2:
        return x.clone()
    pieces = 2 + (uniform(generator, x, n, 1) * (most - 1)).long()
    piece = torch.arange(time, device=x.device) * pieces // time
    rank = uniform(generator, x, n, most).gather(1, piece)
    order = rank.argsort(dim=1, stable=True)
    return x.gather(2, order[:, None].expand_as(x))


def magnitude_warp(x: Series, sigma: float, knots: int, generator: torch.Generator) -> Series:
    """Multiply every channel by a smooth curve: a cubic spline through knots from N(1, sigma^2).

    Parameters
    ----------
    x : series.
    sigma : standard deviation at the knots.
    knots : number of knots inside the window; two more lie at its ends.
    generator : of the knots.

    References
    ----------
    Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring using
    Convolutional Neural Networks", ICMI 2017.
    """
    return x * (1 + sigma * smooth_curves(x, x.shape[1], knots, generator))


def time_warp(x: Series, sigma: float, knots: int, generator: torch.Generator) -> Series:
    """Read every series at a smoothly varying speed (at least a twentieth of the usual one).

    The speed is a cubic spline through knots from N(1, sigma^2); both ends stay where they are.

    References
    ----------
    Um et al., ICMI 2017.
    """
    speed = (1 + sigma * smooth_curves(x, 1, knots, generator)[:, 0]).clamp_min(0.05)
    way = (speed[:, 1:] + speed[:, :-1]).cumsum(1)
    position = torch.nn.functional.pad(way / way[:, -1:], (1, 0)) * (x.shape[-1] - 1)
    return read_at(x, position)


def crop_resize(x: Series, least: float, generator: torch.Generator) -> Series:
    """A random part of `least` to all of the window, stretched to the whole length."""
    n, _, time = x.shape
    share = least + (1 - least) * uniform(generator, x, n, 1)
    start = uniform(generator, x, n, 1) * (1 - share)
    inside = torch.linspace(0, 1, time, dtype=x.dtype, device=x.device)
    return read_at(x, (start + share * inside) * (time - 1))


def time_mask(x: Series, most: float, generator: torch.Generator) -> Series:
    """Zero a random span of up to the share `most` of the window in all channels."""
    n, _, time = x.shape
    width = uniform(generator, x, n, 1) * most * time
    start = uniform(generator, x, n, 1) * (time - width)
    t = torch.arange(time, device=x.device)
    inside = (t >= start) & (t < start + width)
    return x.masked_fill(inside[:, None], 0)


def channel_drop(x: Series, probability: float, generator: torch.Generator) -> Series:
    """Zero every channel with this probability, but always leave one of every sample."""
    u = uniform(generator, x, *x.shape[:2])
    kept = (u >= probability) | (u == u.amax(1, keepdim=True))
    return x * kept[..., None]


def read_at(x: Series, position: Float[Tensor, "n time"]) -> Series:
    """Values between the samples: `position` counts from 0 to T - 1; linear interpolation.

    >>> read_at(torch.tensor([[[0.0, 10.0, 20.0]]]), torch.tensor([[0.5, 2.0, 1.25]]))
    tensor([[[ 5.0000, 20.0000, 12.5000]]])
    """
    last = x.shape[-1] - 1
    left = position.floor().clamp(0, max(last - 1, 0)).long()
    weight = (position - left)[:, None]
    index = left[:, None].expand(-1, x.shape[1], -1)
    return torch.lerp(x.gather(2, index), x.gather(2, (index + 1).clamp_max(last)), weight)


def smooth_curves(
    x: Series, channels: int, knots: int, generator: torch.Generator
) -> Float[Tensor, "n channels time"]:
    """Cubic splines through standard normal numbers at evenly spaced knots."""
    matrix = torch.from_numpy(_spline(knots + 2, x.shape[-1])).to(x)
    return normal(generator, x, len(x), channels, knots + 2) @ matrix


@lru_cache(maxsize=64)
def _spline(knots: int, time: int) -> np.ndarray:
    """(knots, time): a cubic spline is linear in the values at its knots."""
    from scipy.interpolate import CubicSpline

    grid = np.linspace(0, 1, knots)
    return np.ascontiguousarray(CubicSpline(grid, np.eye(knots))(np.linspace(0, 1, time)).T)
