"""From a raw batch to a list of views, in chunks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal, overload

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from tacit.errors import ConfigError
from tacit.views.blur import gaussian_blur
from tacit.views.colour import apply_jitter, greyscale, plan_jitter, solarise
from tacit.views.config import ViewsConfig
from tacit.views.crop import apply_resample, plan_resample, resample_each
from tacit.views.draws import Draws, Geometry, draw, draw_orders
from tacit.views.eval_view import EvalView, check_images, normalisation

# glibc hands freed memory back to the system, and every large tensor then costs a page fault per
# 4 kB (half of the time of a 224-pixel view), until it has once seen a large block freed.
_LESSON_BYTES = 31 << 20
_LARGE = 64  # side from which a CPU cuts views one by one
_CHUNK_BYTES = {"cpu": 1_200_000, "cuda": 256_000_000}  # float32 images of one chunk


class View(nn.Module):
    """One random view of a batch; see :class:`Views`."""

    def __init__(
        self,
        config: ViewsConfig,
        *,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.channels, self.chunk = config, channels, chunk
        _check_colour(config, channels)
        scale, bias = normalisation(mean, std, channels, config.normalise)
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("bias", bias[:, None, None], persistent=False)
        self.scale: Tensor
        self.bias: Tensor

    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        repeats: int = 1,
    ) -> tuple[Float[Tensor, "m c size size"], Geometry]:
        """``repeats`` views, one after the other: m = repeats * n."""
        height, width = images.shape[2:]
        n = repeats * len(images)
        config, device = self.config, images.device
        draws = draw(config, n, height, width, generator)
        step = self.chunk or self._automatic_chunk(device)
        # Sorted so that the samples to jitter come first and the grey ones are neighbours: these
        # operations then work on slices, in place.
        kinds = torch.where(draws.jitter, draws.grey.long(), 3 - draws.grey.long())
        order = torch.argsort(kinds, stable=True)
        counts = torch.bincount(kinds, minlength=4).cumsum(0).tolist()
        geometry, draws = draws.geometry, draws.take(order)
        cut = self._cutter(images, draws, order % len(images))
        order = order.to(device)
        kind = images.dtype if images.is_floating_point() else torch.float32
        jitter = plan_jitter(draws.factors.to(device, kind))
        orders = draw_orders(-(-n // step), generator)
        views = images.new_empty(n, self.channels, config.size, config.size, dtype=kind)
        for start, names in zip(range(0, n, step), orders):
            part = slice(start, start + step)
            x = cut(part)
            if config.turn:
                x = _on(x, draws.transpose[part], lambda some: some.mT)
            count = min(max(counts[1] - start, 0), len(x))
            if count:
                names = [name for name in names if getattr(config, name)]
                head = apply_jitter(x[:count], jitter.take(slice(start, start + count)), names)
                x = head if count == len(x) else torch.cat([head, x[count:]])
            grey = slice(max(counts[0] - start, 0), max(counts[2] - start, 0))
            if grey.start < min(grey.stop, len(x)):
                x[grey] = greyscale(x[grey])
            views.index_copy_(0, order[part], self._finish(x, draws, part))
        return views, geometry

    def _cutter(self, images: Tensor, draws: Draws, which: Tensor) -> Callable[[slice], Tensor]:
        """Crop, resize and mirror of a part of the views, of images number ``which``."""
        config, device = self.config, images.device
        height, width = images.shape[2:]
        longest = float(draws.boxes[:, 2:].max())
        boxes, hflip, vflip = (x.to(device) for x in (draws.boxes, draws.hflip, draws.vflip))
        which = which.to(device)
        # The kernel of large views is exact, or rounds to 8 bits where the images have 8 bits.
        if device.type == "cpu" and config.size > _LARGE:
            return lambda part: resample_each(
                images.index_select(0, which[part]),
                boxes[part],
                config.size,
                hflip=hflip[part],
                vflip=vflip[part],
                interpolation=config.interpolation,
            )
        plan = plan_resample(
            boxes.to(images.dtype if images.is_floating_point() else torch.float32),
            height,
            width,
            config.size,
            hflip=hflip,
            vflip=vflip,
            interpolation=config.interpolation,
            longest=longest,
        )

        def cut(part: slice) -> Tensor:
            x = apply_resample(images.index_select(0, which[part]), plan.take(part))
            return x.clamp_(0, 1) if config.interpolation == "bicubic" else x

        return cut

    def _finish(self, x: Tensor, draws: Draws, part: slice) -> Tensor:
        """Blur, solarise, normalise."""
        config = self.config
        if config.blur:
            blur = draws.blur[part]
            sigma = draws.sigma[part][blur].to(x)
            x = _on(x, blur, lambda some: gaussian_blur(some, sigma, config.kernel))
        if config.solarise:
            x = _on(
                x,
                draws.solarise[part],
                lambda some: solarise(some, config.solarise_threshold),
            )
        return x.mul_(self.scale.to(x)).add_(self.bias.to(x)) if config.normalise else x

    def _automatic_chunk(self, device: torch.device) -> int:
        most = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES["cuda"])
        return max(1, most // (4 * self.channels * self.config.size**2))


class Views(nn.Module):
    """All views of a batch: ``views(images, generator)`` is a list of normalised tensors.

    The same code runs on CPU and GPU, where the images are. Parameters are drawn on the
    generator's device (a CPU generator spares a GPU the waiting) and every sample has its own,
    but for the order of the four jitter operations, which is drawn once a chunk of samples.

    Parameters
    ----------
    configs : one description a view, in the order of the output (crop-major layout: all samples
        of view 0, then all of view 1; with multi-crop, the global views first).
    channels : channels of the images; colour operations need 1 or 3.
    mean, std : of each channel, in [0, 1] units.
    chunk : samples worked on at once; by default what fits the cache (CPU) or 256 MB (GPU). The
        random numbers depend on it, so fix it where CPU and GPU must agree.

    Raises
    ------
    ConfigError : no view, statistics that do not fit ``channels``, or a colour operation on
        images of neither 1 nor 3 channels.

    Examples
    --------
    >>> views = Views([ViewsConfig(size=16)] * 2, channels=3, mean=[0.5] * 3, std=[0.25] * 3)
    >>> x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    >>> [v.shape for v in views(x, torch.Generator().manual_seed(0))]
    [torch.Size([4, 3, 16, 16]), torch.Size([4, 3, 16, 16])]
    """

    def __init__(
        self,
        configs: Sequence[ViewsConfig],
        *,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not configs:
            raise ConfigError("at least one view is needed")
        if chunk is not None and chunk < 1:
            raise ConfigError(f"chunk must be at least 1, got {chunk}")
        torch.empty(_LESSON_BYTES, dtype=torch.uint8)
        self.configs = list(configs)
        self.channels, self.mean, self.std = channels, list(mean), list(std)
        runs = [(config, len(list(same))) for config, same in groupby(self.configs)]
        self.repeats = [count for _, count in runs]
        self.views = nn.ModuleList(
            View(config, channels=channels, mean=mean, std=std, chunk=chunk) for config, _ in runs
        )

    @overload
    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: Literal[False] = False,
    ) -> list[Tensor]: ...

    @overload
    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: Literal[True],
    ) -> tuple[list[Tensor], list[Geometry]]: ...

    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: bool = False,
    ) -> list[Tensor] | tuple[list[Tensor], list[Geometry]]:
        """The views of raw images: uint8, or floating point in [0, 1].

        With ``return_boxes``, also the :class:`Geometry` of each view.
        """
        check_images(images, self.channels)
        grad = torch.is_grad_enabled() and images.requires_grad
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.set_grad_enabled(grad),
        ):
            made = [
                view(images, generator, repeats) for view, repeats in zip(self.views, self.repeats)
            ]
        n = len(images)
        views = [one for several, _ in made for one in several.split(n)]
        if not return_boxes:
            return views
        boxes = [
            Geometry(*(f[i : i + n] for f in g)) for _, g in made for i in range(0, len(g[0]), n)
        ]
        return views, boxes

    def eval_view(self) -> EvalView:
        """The deterministic view that goes with these: the first view's size and normalisation."""
        first = self.configs[0]
        plain = ([0.0] * self.channels, [1.0] * self.channels)
        mean, std = (self.mean, self.std) if first.normalise else plain
        return EvalView(first.size, mean, std)


def _on(x: Tensor, chosen: Tensor, op: Callable[[Tensor], Tensor]) -> Tensor:
    """``op`` on the chosen samples only."""
    index = chosen.nonzero()[:, 0]
    if len(index) == 0:
        return x
    if len(index) == len(x):
        return op(x)
    index = index.to(x.device)
    return x.index_copy(0, index, op(x.index_select(0, index)))


def _check_colour(config: ViewsConfig, channels: int) -> None:
    if channels in (1, 3):
        return
    active = [name for name in ("saturation", "hue") if config.jitter and getattr(config, name)]
    active += ["grey"] if config.grey else []
    if active:
        raise ConfigError(
            f"{', '.join(active)} need images of 1 or 3 channels, these have {channels}; "
            f"set {', '.join(f'{name}=0' for name in active)}"
        )
