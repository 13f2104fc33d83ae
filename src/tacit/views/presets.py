"""The views of the published recipes, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tacit.errors import ConfigError, did_you_mean
from tacit.views.compose import Views
from tacit.views.config import ViewsConfig

_Fields = dict[str, Any]


def _jitter(
    brightness: float, contrast: float, saturation: float, hue: float, p: float = 0.8
) -> _Fields:
    values = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    return {"jitter": p, **values, "hue": hue}


_CIFAR = _jitter(0.4, 0.4, 0.4, 0.1)
_BYOL = _jitter(0.4, 0.4, 0.2, 0.1)
_STRONG = _jitter(0.8, 0.8, 0.8, 0.2)
_CUBIC = {"interpolation": "bicubic"}
_DINO = _BYOL | _CUBIC
_DINO_LOCAL = _DINO | {"area": (0.05, 0.4), "blur": 0.5}
_SWAV_LOCAL = _STRONG | {"area": (0.05, 0.14), "blur": 0.5}
_RAW = {"normalise": False}

# name -> the views in turn; a view past the end starts again from the first
_PRESETS: dict[str, list[_Fields]] = {
    "simclr": [_STRONG | {"blur": 0.5}],
    "moco": [_CIFAR | {"area": (0.2, 1.0), "blur": 0.5}],
    "byol": [_BYOL | _CUBIC | {"blur": 1.0}, _BYOL | _CUBIC | {"blur": 0.1, "solarise": 0.2}],
    "barlow": [_BYOL | _CUBIC | {"blur": 1.0}, _BYOL | _CUBIC | {"blur": 0.1, "solarise": 0.2}],
    "dino": [
        _DINO | {"area": (0.4, 1.0), "blur": 1.0},
        _DINO | {"area": (0.4, 1.0), "blur": 0.1, "solarise": 0.2},
    ],
    "swav": [_STRONG | {"area": (0.14, 1.0), "blur": 0.5}],
    "none": [{"area": None, "hflip": 0.0, "jitter": 0.0, "grey": 0.0}],
    "simclr-cifar": [_STRONG],
    "asymmetric-cifar": [_BYOL, _BYOL | {"solarise": 0.2}],
    "dcl": [_CIFAR],
    "directpred": [_CIFAR],
    "directpred-stl": [_STRONG | _RAW | {"blur": 1.0}],
    "mix-bt": [_CIFAR],
    "cacr": [_jitter(0.4, 0.4, 0.4, 0.4, p=1.0) | {"area": (0.2, 1.0)}],
    "mv-dhel": [_CIFAR | _CUBIC | _RAW],
    "mv-dhel-imagenet": [
        _STRONG | _CUBIC | _RAW | {"blur": 0.5, "blur_sigma": (0.2, 2.0), "blur_kernel": 23}
    ],
}
# Multi-crop: number of local views, and what they are
_LOCAL: dict[str, tuple[int, _Fields]] = {"dino": (8, _DINO_LOCAL), "swav": (6, _SWAV_LOCAL)}
_NO_BLUR_SIZE = 32  # the recipes for CIFAR-size images have no blur

_RANGES = ("area", "aspect", "blur_sigma")

PRESETS = tuple(_PRESETS)


def build_views(
    preset: str,
    *,
    image_size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    n_views: int | None = None,
    **overrides: Any,
) -> Views:
    """The views of a recipe, adapted to the images.

    ================  =========  ========  ================  ====  ==========  ========  ==========
    preset            area       filter    jitter (p .8)     grey  blur        solarise  per image
    ================  =========  ========  ================  ====  ==========  ========  ==========
    simclr            .08-1      bilinear  .8, .8, .8, .2    .2    .5          0         2
    moco              .2-1       bilinear  .4, .4, .4, .1    .2    .5          0         2
    byol, barlow      .08-1      bicubic   .4, .4, .2, .1    .2    1 / .1      0 / .2    2
    dino (global)     .4-1       bicubic   .4, .4, .2, .1    .2    1 / .1      0 / .2    2
    dino (local)      .05-.4     bicubic   .4, .4, .2, .1    .2    .5          0         + 8
    swav (global)     .14-1      bilinear  .8, .8, .8, .2    .2    .5          0         2
    swav (local)      .05-.14    bilinear  .8, .8, .8, .2    .2    .5          0         + 6
    simclr-cifar      .08-1      bilinear  .8, .8, .8, .2    .2    0           0         2
    asymmetric-cifar  .08-1      bilinear  .4, .4, .2, .1    .2    0           0 / .2    2
    dcl, directpred   .08-1      bilinear  .4, .4, .4, .1    .2    0           0         2
    mix-bt            .08-1      bilinear  .4, .4, .4, .1    .2    0           0         2
    directpred-stl    .08-1      bilinear  .8, .8, .8, .2    .2    1           0         2, raw
    cacr              .2-1       bilinear  .4 x 4, p 1       .2    0           0         2
    mv-dhel           .08-1      bicubic   .4, .4, .4, .1    .2    0           0         2, raw
    mv-dhel-imagenet  .08-1      bicubic   .8, .8, .8, .2    .2    .5, 23 tap  0         2, raw
    none              square     bilinear  -                 0     0           0         2
    ================  =========  ========  ================  ====  ==========  ========  ==========

    Jitter is brightness, contrast, saturation, hue; "1 / .1" is view 1 / view 2; "raw" is without
    mean and std. All mirror left-right with probability .5, but for ``none``, which is the
    central square, resized. Blur has sigma .1 to 2 pixels (mv-dhel-imagenet .2 to 2) and, if
    nothing else is said, a kernel of a tenth of the side. Presets drop the blur for views of at
    most 32 pixels, and images of one channel have no saturation, hue and greyscale.

    Parameters
    ----------
    preset : a name from the table.
    image_size : side of the views in pixels (of the global views with multi-crop).
    channels : channels of the images.
    mean, std : of each channel, in [0, 1] units.
    n_views : views per image, 2 by default; the asymmetric recipes alternate. With multi-crop,
        the number of global views.
    **overrides : any field of :class:`ViewsConfig` except ``size``, for all views, or a list with
        one value a view (two numbers, as in ``area=[0.2, 1]``, are one value). Multi-crop presets
        also take ``local_views`` (their number), ``local_size`` (pixels; 96 / 224 of the side,
        rounded to a multiple of 8) and ``local_area``; ``area`` is then of the global views.
        ``chunk`` as in :class:`Views`.

    Returns
    -------
    Views

    Raises
    ------
    ConfigError : an unknown preset or override (with a suggestion), or a value out of range.

    Examples
    --------
    >>> views = build_views("byol", image_size=96, channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    >>> [(v.blur, v.solarise) for v in views.configs]
    [(1.0, 0.0), (0.1, 0.2)]
    >>> views = build_views("dino", image_size=224, channels=1, mean=[0.5], std=[0.2])
    >>> [v.size for v in views.configs]
    [224, 224, 96, 96, 96, 96, 96, 96, 96, 96]
    """
    if preset not in _PRESETS:
        raise ConfigError(
            f"unknown views preset '{preset}'.{did_you_mean(preset, PRESETS)} "
            f"Known: {', '.join(PRESETS)}"
        )
    count = 2 if n_views is None else n_views
    if count < 1:
        raise ConfigError(f"n_views must be at least 1, got {count}")
    chunk = overrides.pop("chunk", None)
    globals_ = [dict(_PRESETS[preset][i % len(_PRESETS[preset])]) for i in range(count)]
    fields = [view | {"size": image_size} for view in globals_]
    if preset in _LOCAL:
        fields += _local_views(preset, image_size, overrides)
    known = set(ViewsConfig.model_fields) - {"size"}
    for name in overrides:
        if name not in known:
            options = [*known, "chunk", "local_views", "local_size", "local_area"]
            raise ConfigError(
                f"unknown views option '{name}' for preset '{preset}'."
                f"{did_you_mean(name, options)} Options: {', '.join(sorted(known))}"
            )
    for i, view in enumerate(fields):
        if view["size"] <= _NO_BLUR_SIZE:
            view["blur"] = 0.0
        if channels == 1:
            view |= {"saturation": 0.0, "hue": 0.0, "grey": 0.0}
        for name, value in overrides.items():
            if name == "area" and i >= count:
                continue
            view[name] = _of_view(name, value, i, len(fields))
    configs = [_validated(preset, view) for view in fields]
    return Views(configs, channels=channels, mean=mean, std=std, chunk=chunk)


def _local_views(preset: str, image_size: int, overrides: dict[str, Any]) -> list[_Fields]:
    number, local = _LOCAL[preset]
    number = overrides.pop("local_views", number)
    size = overrides.pop("local_size", max(8, round(image_size * 96 / 224 / 8) * 8))
    area = overrides.pop("local_area", local["area"])
    return [local | {"size": size, "area": area} for _ in range(number)]


def _of_view(name: str, value: Any, index: int, count: int) -> Any:
    if not isinstance(value, list) or (name in _RANGES and not isinstance(value[0], list | tuple)):
        return value
    if len(value) != count:
        raise ConfigError(
            f"{name} is a list of {len(value)} values, but there are {count} views; "
            "give one value a view, or one value for all"
        )
    return value[index]


def _validated(preset: str, fields: _Fields) -> ViewsConfig:
    try:
        return ViewsConfig(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "views"
        raise ConfigError(f"views preset '{preset}', {where}: {first['msg']}") from error
