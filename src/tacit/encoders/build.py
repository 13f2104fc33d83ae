"""Encoders by name."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from tacit.encoders.adapters import ModuleEncoder
from tacit.encoders.alexnet import SmallAlexNet
from tacit.encoders.base import Encoder
from tacit.encoders.external import EXTERNAL
from tacit.encoders.named import check_options
from tacit.encoders.resnet import BasicBlock, Bottleneck, ResNet
from tacit.encoders.small import SmallConvNet
from tacit.encoders.vit import VisionTransformer
from tacit.errors import ConfigError, did_you_mean

# name -> class, positional arguments, defaults that options may override
_ENCODERS: dict[str, tuple[type[Encoder], tuple[Any, ...], dict[str, Any]]] = {
    "small": (SmallConvNet, (), {}),
    "smallalexnet": (SmallAlexNet, (), {}),
    "resnet18": (ResNet, (BasicBlock, (2, 2, 2, 2)), {}),
    "resnet34": (ResNet, (BasicBlock, (3, 4, 6, 3)), {}),
    "resnet50": (ResNet, (Bottleneck, (3, 4, 6, 3)), {}),
    "vit_ti": (VisionTransformer, (), {"dim": 192, "depth": 12, "heads": 3}),
    "vit_s": (VisionTransformer, (), {"dim": 384, "depth": 12, "heads": 6}),
    "vit_b": (VisionTransformer, (), {"dim": 768, "depth": 12, "heads": 12}),
}


def encoder_names() -> list[str]:
    """The built-in encoders.

    >>> encoder_names()[0]
    'small'
    """
    return list(_ENCODERS)


def encoder_key(name: str) -> str:
    """How the table knows an encoder; the name of another library's model stays as it is.

    Raises
    ------
    ConfigError : there is no such encoder or library.

    >>> encoder_key("ViT-Ti"), encoder_key("timm:convnext_tiny")
    ('vit_ti', 'timm:convnext_tiny')
    """
    library, colon, _ = name.partition(":")
    if colon and library not in EXTERNAL:
        raise ConfigError(
            f"unknown library '{library}' in the encoder '{name}'; use "
            f"{', '.join(f'{known}:NAME' for known in EXTERNAL)}"
        )
    key = name.lower().replace("-", "_")
    if not colon and key not in _ENCODERS:
        raise ConfigError(
            f"unknown encoder '{name}'.{did_you_mean(key, _ENCODERS)} Known: "
            f"{', '.join(_ENCODERS)}, {', '.join(f'{known}:NAME' for known in EXTERNAL)}"
        )
    return name if colon else key


def build_encoder(
    name: str | nn.Module, *, in_channels: int, image_size: int, **options: Any
) -> Encoder:
    """An encoder by name.

    Parameters
    ----------
    name : `small`, `smallalexnet`, `resnet18|34|50`, `vit_ti|s|b` ('-' reads as '_'), a model of
        another library as `timm:NAME`, `hf:NAME` or `monai:NAME`, or a module of your own.
    in_channels, image_size : channels and side in pixels of the images it will see.
    **options : of the encoder's class, such as `stem="imagenet"` or `patch_size=8`.

    Raises
    ------
    ConfigError
        Unknown name or option, or a value that the option cannot take.
    MissingExtraError
        The library behind `timm:`, `hf:` or `monai:` is not installed.

    >>> build_encoder("resnet18", in_channels=3, image_size=32).dim
    512
    >>> build_encoder("vit-ti", in_channels=1, image_size=28, registers=4).grid
    (7, 7)
    """
    if in_channels < 1 or image_size < 1:
        raise ConfigError(
            f"in_channels and image_size must be positive, got {in_channels} and {image_size}"
        )
    if isinstance(name, nn.Module):
        if isinstance(name, Encoder):
            if options or name.in_channels != in_channels:
                raise ConfigError(
                    f"this {type(name).__name__} is already built, for {name.in_channels} channels "
                    f"(asked: {in_channels}, options {options}); give a name to build one"
                )
            return name
        return ModuleEncoder(name, in_channels=in_channels, image_size=image_size, **options)
    key = encoder_key(name)
    library, colon, model = key.partition(":")
    if colon:
        return EXTERNAL[library](model, in_channels=in_channels, image_size=image_size, **options)
    cls, arguments, defaults = _ENCODERS[key]
    taken = list(inspect.signature(cls).parameters)[: len(arguments)]
    checked = check_options(key, cls, options, ("in_channels", "image_size", *taken))
    return cls(
        *arguments, in_channels=in_channels, image_size=image_size, **{**defaults, **checked}
    )
