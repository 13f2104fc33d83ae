"""One random view of a batch, in chunks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from tacit.errors import ConfigError
from tacit.views.blur import gaussian_blur
from tacit.views.colour import apply_jitter, greyscale, plan_jitter, solarise
from tacit.views.config import ViewsConfig
from tacit.views.crop import apply_resample, plan_resample, resample_each
from tacit.views.draws import Draws, Geometry, draw, draw_orders
from tacit.views.eval_view import normalisation

LARGE = 64  # side from which a CPU cuts views one by one
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
        self.fused: Callable[..., Tensor] | None = None
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
        n = repeats * len(images)
        height, width = images.shape[2:]
        draws = draw(self.config, n, height, width, generator)
        step = self.chunk or self._automatic_chunk(images.device)
        # Sorted so that the samples to jitter come first and the grey ones are neighbours.
        kinds = torch.where(draws.jitter, draws.grey.long(), 3 - draws.grey.long())
        order = torch.argsort(kinds, stable=True)
        parts = [
            [name for name in names if getattr(self.config, name)]
            for names in draw_orders(-(-n // step), generator)
        ]
        raw8 = images.dtype == torch.uint8 and images.device.type == "cpu"
        if self.fused is not None and raw8 and self.config.size <= LARGE:
            views = self._in_one_pass(images, draws, order, parts, step)
        else:
            counts = torch.bincount(kinds, minlength=4).cumsum(0).tolist()
            views = self._in_chunks(images, draws, order, counts, parts, step)
        return views, draws.geometry

    def _in_chunks(
        self,
        images: Tensor,
        draws: Draws,
        order: Tensor,
        counts: list[int],
        parts: list[list[str]],
        step: int,
    ) -> Tensor:
        """In `order`, where the operations on some of the views work on slices, in place."""
        config, device, n = self.config, images.device, len(order)
        draws = draws.take(order)
        cut = self._cutter(images, draws, order % len(images))
        order = order.to(device)
        kind = images.dtype if images.is_floating_point() else torch.float32
        jitter = plan_jitter(draws.factors.to(device, kind))
        views = images.new_empty(n, self.channels, config.size, config.size, dtype=kind)
        for start, names in zip(range(0, n, step), parts):
            part = slice(start, start + step)
            x = cut(part)
            if config.turn:
                x = _on(x, draws.transpose[part], lambda some: some.mT)
            count = min(max(counts[1] - start, 0), len(x))
            if count:
                head = apply_jitter(x[:count], jitter.take(slice(start, start + count)), names)
                x = head if count == len(x) else torch.cat([head, x[count:]])
            grey = slice(max(counts[0] - start, 0), max(counts[2] - start, 0))
            if grey.start < min(grey.stop, len(x)):
                x[grey] = greyscale(x[grey])
            views.index_copy_(0, order[part], self._finish(x, draws, part))
        return views

    def _in_one_pass(
        self, images: Tensor, draws: Draws, order: Tensor, parts: list[list[str]], step: int
    ) -> Tensor:
        """The same, one after the other; see `tacit.views.fused`."""
        assert self.fused is not None
        config, n = self.config, len(order)
        which = torch.empty_like(order)
        which[order] = torch.arange(n, device=order.device) // step
        later = config.blur > 0 or config.solarise > 0
        scale, bias = self.scale.flatten(), self.bias.flatten()
        if later:
            scale, bias = torch.ones_like(scale), torch.zeros_like(bias)
        views = self.fused(images, draws, parts, which, config, scale, bias)
        for start in range(0, n if later else 0, step):
            part = slice(start, start + step)
            views[part] = self._finish(views[part], draws, part)
        return views

    def _cutter(self, images: Tensor, draws: Draws, which: Tensor) -> Callable[[slice], Tensor]:
        """Crop, resize and mirror of a part of the views, of images number ``which``."""
        config, device = self.config, images.device
        height, width = images.shape[2:]
        longest = float(draws.boxes[:, 2:].max())
        boxes, hflip, vflip = (x.to(device) for x in (draws.boxes, draws.hflip, draws.vflip))
        which = which.to(device)
        # The kernel of large views is exact, or rounds to 8 bits where the images have 8 bits.
        if device.type == "cpu" and config.size > LARGE:
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
