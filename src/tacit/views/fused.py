"""Small views, each in one compiled pass: crop, mirror, turn, jitter, greyscale, normalisation.

The definitions are those of `crop` and `colour`, and so are the plans that these loops follow: the
results are those of the torch operations up to rounding. A view stays in the nearest cache from
its raw pixels to its place in the batch, where a batched operation reads and writes all views.
numba compiles the loops (seconds, then kept on disk), so only `Views.fuse` imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numba import njit
from torch import Tensor

from tacit.views.colour import JITTER_OPS, LUMA, plan_jitter
from tacit.views.config import ViewsConfig
from tacit.views.crop import plan_resample
from tacit.views.draws import Draws

# Sums may be reordered and products fused with them; NaN and infinities keep their meaning.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract"},
    "error_model": "numpy",
    "nogil": True,
}
_ZERO, _ONE = np.float32(0), np.float32(1)  # a number without a type would make all of it float64
_RED, _GREEN, _BLUE = (np.float32(x) for x in LUMA.tolist())


class _Plan(NamedTuple):
    """What happens to each of n views; indices and shares as in `ResamplePlan`, taps last."""

    image: np.ndarray  # n: number of its raw image
    left: np.ndarray  # n: first column of the crop
    width: np.ndarray  # n: columns of the crop
    rows: np.ndarray  # n size taps
    down: np.ndarray  # n size taps
    columns: np.ndarray  # n size taps
    across: np.ndarray  # n size taps
    transpose: np.ndarray  # n
    jitter: np.ndarray  # n
    order: np.ndarray  # n 4: positions in JITTER_OPS, -1 for none
    factors: np.ndarray  # n 4
    hue: np.ndarray  # n 3 3
    ends: np.ndarray  # n
    grey: np.ndarray  # n


def fused_views(
    images: UInt8[Tensor, "images c height width"],
    draws: Draws,
    orders: Sequence[Sequence[str]],
    which: Int[Tensor, " n"],
    config: ViewsConfig,
    scale: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
) -> Float[Tensor, "n c size size"]:
    """``scale * view + bias`` for n views without blur and solarise; view i: image i % images.

    Parameters
    ----------
    images : on the CPU.
    draws : parameters of the n views.
    orders : some orders of the parts of the jitter; parts left out are not applied.
    which : number of the order that each view takes.
    config : size and interpolation of the views.
    scale, bias : of each channel.
    """
    plan = _plan(images, draws, orders, which, config)
    channels, n = images.shape[1], len(which)
    # With all channels in one row, the innermost loops are long enough for the widest registers.
    raw = _array(images.transpose(1, 2))
    out = torch.empty(n, channels, config.size, config.size, dtype=torch.float32)
    luma = LUMA if channels == 3 else torch.full((channels,), 1 / channels)
    colour = [_array(x.float()) for x in (luma, scale, bias)]
    _fill(out.numpy(), raw, plan, *colour, config.interpolation == "bicubic")
    return out


def _plan(
    images: Tensor,
    draws: Draws,
    orders: Sequence[Sequence[str]],
    which: Tensor,
    config: ViewsConfig,
) -> _Plan:
    channels, height, width = images.shape[1:]
    resample = plan_resample(
        draws.boxes.float(),
        height,
        width,
        config.size,
        hflip=draws.hflip,
        vflip=draws.vflip,
        interpolation=config.interpolation,
    )
    factors = draws.factors.float()
    jitter = plan_jitter(factors)
    grey = draws.grey & (channels == 3)
    known = JITTER_OPS if channels == 3 else JITTER_OPS[:2]  # without colour, no saturation and hue
    parts = [[JITTER_OPS.index(name) for name in names if name in known] for names in orders]
    padded = [some + [-1] * (len(JITTER_OPS) - len(some)) for some in parts]
    return _Plan(
        image=np.arange(len(which)) % len(images),
        left=_array(draws.boxes[:, 1]),
        width=_array(draws.boxes[:, 3]),
        rows=_array(resample.rows),
        down=_array(resample.down * (1 / 255)),
        columns=resample.columns.mT.cpu().numpy(),
        across=resample.across.mT.cpu().numpy(),
        transpose=_array(draws.transpose),
        jitter=_array(draws.jitter),
        order=_array(torch.tensor(padded)[which.cpu()]),
        factors=_array(factors),
        hue=_array(jitter.hue),
        ends=_array(jitter.ends[:, 0, 0]),
        grey=_array(grey),
    )


def _array(values: Tensor) -> np.ndarray:
    """Contiguous, so that there is one kind of array to compile for."""
    return values.cpu().contiguous().numpy()


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiled at the first call; kept on disk, where numba finds a folder that works."""
    here = njit(function, **_OPTIONS)
    try:
        kept = njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # it may write neither beside this file nor at home
        return here

    def call(*arguments: Any) -> None:
        try:
            kept(*arguments)
        except (OSError, EOFError, UnpicklingError):  # no room, or a damaged file
            here(*arguments)

    return call


@njit(**_OPTIONS)
def _mix(out: Any, source: Any, index: Any, share: Any) -> None:
    """Row i of out = sum over its taps (two or more) of share * a row of source."""
    for i in range(len(out)):
        row = out[i]
        one, two = source[index[i, 0]], source[index[i, 1]]
        p, q = share[i, 0], share[i, 1]
        for x in range(len(row)):
            row[x] = p * np.float32(one[x]) + q * np.float32(two[x])
        for tap in range(2, index.shape[1]):
            one, p = source[index[i, tap]], share[i, tap]
            for x in range(len(row)):
                row[x] += p * np.float32(one[x])


@njit(**_OPTIONS)
def _transpose(out: Any, source: Any) -> None:
    for i in range(len(out)):
        row = out[i]
        for j in range(len(row)):
            row[j] = source[j, i]


@njit(**_OPTIONS)
def _clip(value: Any, low: Any, high: Any) -> Any:
    return min(max(value, low), high)


@njit(**_OPTIONS)
def _scale(x: Any, factor: Any, add: Any) -> None:
    flat = x.reshape(x.size)
    for i in range(len(flat)):
        flat[i] = _clip(flat[i] * factor + add, _ZERO, _ONE)


@njit(**_OPTIONS)
def _mean(x: Any, luma: Any) -> Any:
    mean = _ZERO
    for channel in range(len(x)):
        one, total = x[channel], _ZERO
        for i in range(len(one)):
            total += one[i]
        mean += luma[channel] * total
    return mean / np.float32(x.shape[1])


@njit(**_OPTIONS)
def _saturation(x: Any, factor: Any) -> None:
    r, g, b = x[0], x[1], x[2]
    rest = _ONE - factor
    for i in range(len(r)):
        grey = rest * (_RED * r[i] + _GREEN * g[i] + _BLUE * b[i])
        r[i] = _clip(r[i] * factor + grey, _ZERO, _ONE)
        g[i] = _clip(g[i] * factor + grey, _ZERO, _ONE)
        b[i] = _clip(b[i] * factor + grey, _ZERO, _ONE)


@njit(**_OPTIONS)
def _hue(x: Any, matrix: Any, share: Any) -> None:
    """As `adjust_hue`: a product with a matrix, a share of the ends, and a clip to them."""
    red, green, blue = x[0], x[1], x[2]
    rr, rg, rb = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    gr, gg, gb = matrix[1, 0], matrix[1, 1], matrix[1, 2]
    br, bg, bb = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        top, low = max(max(r, g), b), min(min(r, g), b)
        ends = share * (top + low)
        red[i] = _clip(rr * r + rg * g + rb * b + ends, low, top)
        green[i] = _clip(gr * r + gg * g + gb * b + ends, low, top)
        blue[i] = _clip(br * r + bg * g + bb * b + ends, low, top)


@_compiled
def _fill(out: Any, raw: Any, plan: Any, luma: Any, scale: Any, bias: Any, bicubic: bool) -> None:
    """Views (n, c, size, size) of raw images (images, height, c, width)."""
    n, channels, size, _ = out.shape
    height, width = raw.shape[1], raw.shape[3]
    rows = np.empty((size, channels * width), np.float32)
    # A tap outside of the crop has no share, but what it reads must be a number.
    turned = np.zeros((width, channels * size), np.float32)
    columns = np.empty((size, channels * size), np.float32)
    for i in range(n):
        image = raw[plan.image[i]].reshape(height, channels * width)
        _mix(rows, image, plan.rows[i], plan.down[i])
        left, right = plan.left[i], plan.left[i] + plan.width[i]
        for k in range(channels):
            across, along = k * width, slice(k * size, (k + 1) * size)
            _transpose(turned[left:right, along], rows[:, across + left : across + right])
        _mix(columns, turned, plan.columns[i], plan.across[i])
        for k in range(channels):
            one = columns[:, k * size : (k + 1) * size]
            _transpose(out[i, k], one.T if plan.transpose[i] else one)
        view = out[i].reshape(channels, size * size)
        if bicubic:
            _scale(view, _ONE, _ZERO)
        if plan.jitter[i]:
            for part in plan.order[i]:
                factor = plan.factors[i, max(part, 0)]
                if part == 0:
                    _scale(view, factor, _ZERO)
                elif part == 1:
                    _scale(view, factor, (_ONE - factor) * _mean(view, luma))
                elif part == 2:
                    _saturation(view, factor)
                elif part == 3:
                    _hue(view, plan.hue[i], plan.ends[i])
        if plan.grey[i]:
            _saturation(view, _ZERO)
        for k in range(channels):
            pixels, factor, add = view[k], scale[k], bias[k]
            for p in range(len(pixels)):
                pixels[p] = pixels[p] * factor + add
