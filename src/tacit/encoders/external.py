"""Networks of other libraries by name: `timm:NAME`, `hf:NAME`, `monai:NAME`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from tacit.encoders.adapters import ModuleEncoder, split_tokens
from tacit.encoders.base import Encoder, Features, map_features
from tacit.errors import ConfigError, MissingExtraError, did_you_mean

FILES = ("checkpoint_path", "cache_dir", "scriptable", "exportable", "state_dict", "weights")
# What `from_pretrained` takes besides fields of the configuration, and fields that name code.
CODE = ("auto_map", "attn_implementation", "quantization_config", "custom_pipelines")


def _import(name: str, extra: str, needed_for: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:  # the package itself, or (timm without torchvision) one it needs
        missing = (error.name or name).partition(".")[0]
        raise MissingExtraError(missing, extra, needed_for) from error


def _refuse_files(options: dict[str, Any], where: str) -> None:
    """A saved encoder and a recipe may be from others; what they name must not be unpickled."""
    for key, value in options.items():
        named = key.startswith(("pretrained", "bundle")) and not isinstance(value, bool)
        if key in FILES or named:
            raise ConfigError(
                f"{where}: the option '{key}' would load a file that may run code, which is "
                "refused. Load it in Python and pass the network itself."
            )


class TimmEncoder(ModuleEncoder):
    """A timm model without its classifier: `forward_features`, then timm's own pooling."""

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        model: Any = self.module
        raw = model.forward_features(x)
        pooled = model.forward_head(raw, pre_logits=True)
        if raw.ndim == 4:
            if getattr(model, "output_fmt", "NCHW") == "NHWC":
                raw = raw.permute(0, 3, 1, 2)
            _, patches, grid = map_features(raw)
        else:
            prefix = getattr(model, "num_prefix_tokens", None)
            _, patches, grid = split_tokens(raw, prefix)
        # Some networks widen the vector after pooling; then patches would have another width.
        if patches is None or patches.shape[-1] != pooled.shape[-1]:
            return Features(pooled)
        return Features(pooled, patches, grid)


def build_timm(
    name: str, *, in_channels: int, image_size: int, pretrained: bool = False, **options: Any
) -> Encoder:
    """`timm.create_model(name, ...)`; options go to it (`drop_path_rate`, `patch_size`, ...)."""
    timm = _import("timm", "timm", f"the encoder 'timm:{name}'")
    _refuse_files(options, f"timm:{name}")
    known = timm.list_models()
    if name.partition(".")[0] not in known:  # NAME or NAME.PRETRAINED_TAG
        raise ConfigError(f"timm has no model '{name}'.{did_you_mean(name, known)}")
    # Networks with position embeddings are built for one size; the others read any.
    config = timm.models.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options.setdefault("img_size", image_size)
    try:
        module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=in_channels, **options
        )
    except (TypeError, AssertionError, ValueError) as error:
        raise ConfigError(f"timm cannot build '{name}' with {options}: {error}") from error
    return TimmEncoder(module, in_channels=in_channels, image_size=image_size)


class HuggingFaceEncoder(ModuleEncoder):
    """A transformers vision model, called with `pixel_values`."""

    def call(self, x: Tensor) -> Any:
        return self.module(pixel_values=x)


def adapt_transformers(module: Any, *, in_channels: int, image_size: int) -> Encoder:
    """Wrap a transformers model (of two towers: its vision tower).

    >>> from transformers import ViTConfig, ViTModel  # doctest: +SKIP
    >>> config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    ...                    intermediate_size=64, image_size=32, patch_size=8)  # doctest: +SKIP
    >>> adapt_transformers(ViTModel(config), in_channels=3, image_size=32).dim  # doctest: +SKIP
    32
    """
    module = getattr(module, "vision_model", module)
    config = module.config
    channels = getattr(config, "num_channels", in_channels)
    if channels != in_channels:
        raise ConfigError(
            f"{type(module).__name__} reads {channels} channels, the images have {in_channels}; "
            f"use a model with num_channels={in_channels}"
        )
    if hasattr(getattr(module, "pooler", None), "dense"):
        # ViT's tanh pooler belongs to a supervised task and is random in most checkpoints: the
        # class token after the last norm is the feature.
        module.pooler = None
    return HuggingFaceEncoder(module, in_channels=in_channels, image_size=image_size)


def build_hf(
    name: str, *, in_channels: int, image_size: int, pretrained: bool = True, **options: Any
) -> Encoder:
    """`AutoModel` of a hub name or a local folder; `pretrained=False` takes only its architecture.

    Options go to the configuration (`num_channels`, `num_hidden_layers`, ...).
    """
    transformers = _import("transformers", "text", f"the encoder 'hf:{name}'")
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        for key in options:
            if key.startswith("_") or key in CODE or not hasattr(config, key):
                raise ConfigError(
                    f"hf:{name}: the configuration has no field '{key}' that may be set."
                    f"{did_you_mean(key, config.to_dict())}"
                )
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
        auto = transformers.AutoModel
        module = (
            auto.from_pretrained(name, config=config, trust_remote_code=False)
            if pretrained
            else auto.from_config(config, trust_remote_code=False)
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"transformers cannot load '{name}': {error}\nCheck the name, or give a local folder "
            "with config.json (and model.safetensors)"
        ) from error
    return adapt_transformers(module, in_channels=in_channels, image_size=image_size)


def build_monai(name: str, *, in_channels: int, image_size: int, **options: Any) -> Encoder:
    """`monai.networks.nets.NAME(**options)`, 2-D, with the image's channels and size."""
    nets = _import("monai.networks.nets", "medical", f"the encoder 'monai:{name}'")
    _refuse_files(options, f"monai:{name}")
    constructor: Callable[..., Any] | None = getattr(nets, name, None)
    if not callable(constructor) or name.startswith("_"):
        names = [known for known in dir(nets) if known[0].isupper()]
        raise ConfigError(f"monai.networks.nets has no '{name}'.{did_you_mean(name, names)}")
    filled = {
        "spatial_dims": 2,
        "in_channels": in_channels,
        "n_input_channels": in_channels,
        "img_size": image_size,
        "feed_forward": False,  # no classifier
    }
    known = set(inspect.signature(constructor).parameters)
    if name.startswith("resnet"):  # functions that pass their keyword arguments on to ResNet
        known |= set(inspect.signature(nets.ResNet).parameters)
    for key in known.intersection(filled):
        options.setdefault(key, filled[key])
    try:
        module = constructor(**options)
    except (TypeError, ValueError, ImportError) as error:  # some networks need einops
        raise ConfigError(f"monai cannot build '{name}' with {options}: {error}") from error
    return ModuleEncoder(module, in_channels=in_channels, image_size=image_size)


EXTERNAL: dict[str, Callable[..., Encoder]] = {
    "timm": build_timm,
    "hf": build_hf,
    "monai": build_monai,
}
