"""The views of time series: presets of random transforms, seeded by a generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError, did_you_mean
from tacit.views import series_ops as ops
from tacit.views.eval_view import normalisation

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]


class SeriesViewConfig(BaseModel):
    """One view. A strength of 0 switches a transform off; `NAME_p` is its probability a sample.

    The transforms run in the order of the fields, after the normalisation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    normalise: bool = Field(True, description="subtract the data's mean, divide by its std")
    crop: float = Field(1.0, gt=0, le=1, description="least share that a crop keeps; 1: no crop")
    crop_p: Probability = 1.0
    time_warp: Strength = Field(0.0, description="std of the reading speed at its knots")
    time_warp_p: Probability = 1.0
    permute: int = Field(0, ge=0, description="most pieces that are shuffled; below 2: none")
    permute_p: Probability = 1.0
    magnitude_warp: Strength = Field(0.0, description="std of the smooth factor at its knots")
    magnitude_warp_p: Probability = 1.0
    scale: Strength = Field(0.0, description="std of one factor a channel")
    scale_p: Probability = 1.0
    jitter: Strength = Field(0.0, description="std of the white noise")
    jitter_p: Probability = 1.0
    mask: Probability = Field(0.0, description="longest share of time that is zeroed")
    mask_p: Probability = 1.0
    drop: Probability = Field(0.0, description="probability of zeroing a channel; one always stays")
    drop_p: Probability = 1.0
    knots: int = Field(4, ge=1, description="inner knots of the warps")


_Transform = Callable[[Tensor, SeriesViewConfig, torch.Generator], Tensor]
# In the order in which they run; each is off where its field has the default
_TRANSFORMS: dict[str, _Transform] = {
    "crop": lambda x, c, g: ops.crop_resize(x, c.crop, g),
    "time_warp": lambda x, c, g: ops.time_warp(x, c.time_warp, c.knots, g),
    "permute": lambda x, c, g: ops.permutation(x, c.permute, g),
    "magnitude_warp": lambda x, c, g: ops.magnitude_warp(x, c.magnitude_warp, c.knots, g),
    "scale": lambda x, c, g: ops.scaling(x, c.scale, g),
    "jitter": lambda x, c, g: ops.jitter(x, c.jitter, g),
    "mask": lambda x, c, g: ops.time_mask(x, c.mask, g),
    "drop": lambda x, c, g: ops.channel_drop(x, c.drop, g),
}

_Fields = dict[str, Any]
_WEAK: _Fields = {"scale": 0.5, "jitter": 0.3}
# name -> the views in turn; a view past the end starts again from the first
_PRESETS: dict[str, list[_Fields]] = {
    "none": [{}],
    "jitter-scale": [_WEAK],
    "permute-jitter": [{"permute": 5, "jitter": 0.5}],
    "weak-strong": [_WEAK, {"permute": 5, "jitter": 0.5}],
    "crop": [{"crop": 0.5, "jitter": 0.1}],
    "warp": [{"time_warp": 0.3, "magnitude_warp": 0.3, "jitter": 0.1}],
    "mask": [{"mask": 0.5, "drop": 0.2}],
    "mixed": [
        {"crop": 0.6, "crop_p": 0.5, "time_warp": 0.2, "time_warp_p": 0.5}
        | {"scale": 0.3, "jitter": 0.2, "mask": 0.3, "mask_p": 0.5, "drop": 0.1}
    ],
}
SERIES_PRESETS = tuple(_PRESETS)


class SeriesViews(nn.Module):
    """All views of a batch of series: ``views(x, generator)`` is a list of tensors (n, C, T).

    Parameters
    ----------
    configs : one description a view.
    mean, std : of each channel.

    Raises
    ------
    ConfigError : no view, or statistics that do not fit each other.

    Examples
    --------
    >>> views = SeriesViews([SeriesViewConfig(jitter=0.1)] * 2, mean=[0.0], std=[1.0])
    >>> [v.shape for v in views(torch.randn(4, 1, 50), torch.Generator().manual_seed(0))]
    [torch.Size([4, 1, 50]), torch.Size([4, 1, 50])]
    """

    def __init__(
        self, configs: Sequence[SeriesViewConfig], *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        if not configs:
            raise ConfigError("at least one view is needed")
        self.configs = list(configs)
        self.normalise = SeriesEvalView(mean, std)

    def forward(
        self, x: Float[Tensor, "n channels time"], generator: torch.Generator
    ) -> list[Tensor]:
        normal = self.normalise(x)
        return [self._view(normal if c.normalise else x, c, generator) for c in self.configs]

    @staticmethod
    def _view(x: Tensor, config: SeriesViewConfig, generator: torch.Generator) -> Tensor:
        for name, transform in _TRANSFORMS.items():
            probability = getattr(config, f"{name}_p")
            if getattr(config, name) == SeriesViewConfig.model_fields[name].default:
                continue
            changed = transform(x, config, generator)
            if probability < 1:
                chosen = ops.uniform(generator, x, len(x), 1, 1) < probability
                changed = torch.where(chosen, changed, x)
            x = changed
        return x


class SeriesEvalView(nn.Module):
    """What evaluation sees: every channel minus its mean, divided by its standard deviation.

    Examples
    --------
    >>> SeriesEvalView([1.0], [2.0])(torch.full((1, 1, 3), 5.0))
    tensor([[[2., 2., 2.]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        scale, _ = normalisation(mean, std, len(mean), True)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None])
        self.register_buffer("scale", scale[:, None])
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, x: Float[Tensor, "n channels time"]) -> Float[Tensor, "n channels time"]:
        if x.ndim != 3 or x.shape[1] != len(self.mean) or not x.is_floating_point():
            raise DataError(
                f"views need a batch of float series (n, {len(self.mean)}, time), got {x.dtype} "
                f"{tuple(x.shape)}"
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError("the series hold NaN or infinite values; replace them before training")
        return (x - self.mean.to(x)) * self.scale.to(x)


def build_series_views(
    preset: str,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    n_views: int | None = None,
    **overrides: Any,
) -> SeriesViews:
    """The views of a preset.

    ================  ====================================================================
    none              normalisation only
    jitter-scale      factor N(1, .5^2) a channel, white noise .3
    permute-jitter    up to 5 shuffled pieces, white noise .5
    weak-strong       jitter-scale and permute-jitter in turn
    crop              half to all of the window stretched to its length, white noise .1
    warp              time and magnitude warped (.3), white noise .1
    mask              up to half of the time zeroed, channels zeroed with probability .2
    mixed             crop and time warp (each for half of the samples), factor, noise, mask
    ================  ====================================================================

    Parameters
    ----------
    preset : a name from the table.
    mean, std : of each channel.
    n_views : views a sample, 2 by default.
    **overrides : fields of `SeriesViewConfig` for all views, or a list with one value a view.

    Raises
    ------
    ConfigError : an unknown preset or field (with a suggestion), or a value out of range.

    Examples
    --------
    >>> views = build_series_views("weak-strong", mean=[0.0], std=[1.0], jitter=0.1)
    >>> [(c.permute, c.jitter) for c in views.configs]
    [(0, 0.1), (5, 0.1)]
    """
    if preset not in _PRESETS:
        raise ConfigError(
            f"unknown views preset '{preset}' of series.{did_you_mean(preset, SERIES_PRESETS)} "
            f"Known: {', '.join(SERIES_PRESETS)}"
        )
    count = 2 if n_views is None else n_views
    if count < 1:
        raise ConfigError(f"n_views must be at least 1, got {count}")
    known = list(SeriesViewConfig.model_fields)
    turns = _PRESETS[preset]
    fields = [dict(turns[i % len(turns)]) for i in range(count)]
    for name, value in overrides.items():
        if name not in known:
            raise ConfigError(
                f"unknown views option '{name}' of series.{did_you_mean(name, known)} "
                f"Options: {', '.join(known)}"
            )
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count:
            raise ConfigError(
                f"{name} is a list of {len(values)} values, but there are {count} views"
            )
        for view, one in zip(fields, values):
            view[name] = one
    try:
        configs = [SeriesViewConfig(**view) for view in fields]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"views preset '{preset}', {where}: {first['msg']}") from error
    return SeriesViews(configs, mean=mean, std=std)
