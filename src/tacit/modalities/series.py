"""Time series: float32 (n, C, T), standardised by channel, augmented and read along time."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
from torch import nn

from tacit.data import Source
from tacit.data.series import SeriesSource
from tacit.encoders.base import Encoder
from tacit.encoders.named import build_named, named
from tacit.encoders.series import SERIES_ENCODERS, MappedEncoder
from tacit.errors import ConfigError, DataError
from tacit.modalities.base import Modality, grouped_reservoir
from tacit.recipe import OptimizerConfig, Recipe
from tacit.views import SERIES_PRESETS, SeriesEvalView, build_series_views

KIND = "series encoder"  # in messages
ENCODER = "resnet1d"
MAPPED = "mapped:"  # MappedEncoder around the encoder that is named behind it
BATCH = 256


class Series(Modality):
    """Series of one shape (C, T)."""

    name: ClassVar[str] = "series"
    default_method: ClassVar[str] = "frame-projections"
    unused: ClassVar[tuple[str, ...]] = ("image_size",)

    def adapt(self, recipe: Recipe) -> Recipe:
        """Views of series, AdamW, and as many series a step as there are, up to 256.

        The rates of image recipes (LARS, SGD) are tuned to residual networks of images.
        """
        views = recipe.views if recipe.views in SERIES_PRESETS else "jitter-scale"
        adamw = OptimizerConfig(name="adamw", lr=1e-3, scale_lr=False, weight_decay=1e-4)
        return recipe.changed(
            {
                "encoder": None,
                "encoder_options": {},
                "views": views,
                "view_scale": 1.0,
                "image_size": None,
                "batch_size": None,
                "optimizer": adamw.model_dump(),
            }
        ).model_copy(update={"views_options": {}})

    def complete(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        training, _ = self.reservoir(source, recipe)
        world = recipe.devices * recipe.nodes
        size = recipe.batch_size or max(1, min(BATCH, len(training) // world))
        return {"encoder": recipe.encoder or ENCODER, "batch_size": size}

    def input_spec(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        assert isinstance(source, SeriesSource)
        channels, length = source.shape
        mean, std = source.statistics()
        return {
            "in_channels": channels,
            "length": length,
            "rate": source.rate,
            "mean": mean,
            "std": std,
        }

    def check_encoder(self, name: str) -> None:
        named(KIND, SERIES_ENCODERS, name.removeprefix(MAPPED))

    def build_encoder(
        self, name: str | nn.Module, spec: dict[str, Any], options: dict[str, Any]
    ) -> Encoder:
        """A network by name; ``mapped:NAME`` adds the latent mappers of Frame Projections."""
        if isinstance(name, nn.Module):
            return _own(name, spec)
        if name.startswith(MAPPED):
            own: dict[str, Any] = {
                key: options[key] for key in ("fourier", "wavelet") if key in options
            }
            inner = {key: value for key, value in options.items() if key not in own}
            time = self.build_encoder(name.removeprefix(MAPPED), spec, inner)
            table: dict[str, Any] = {"mapped": (MappedEncoder, {})}
            sizes = {"time": time, "length": spec["length"]}
            return build_named(KIND, table, "mapped", own, **sizes)
        sizes = {key: spec[key] for key in _sizes(name) if spec[key] is not None}
        return build_named(KIND, SERIES_ENCODERS, name, options, **sizes)

    def training_views(self, recipe: Recipe, spec: dict[str, Any]) -> nn.Module:
        return build_series_views(
            recipe.views,
            mean=spec["mean"],
            std=spec["std"],
            n_views=recipe.n_views,
            **recipe.views_options,
        )

    def eval_view(self, spec: dict[str, Any]) -> nn.Module:
        return SeriesEvalView(spec["mean"], spec["std"])

    def check(self, source: Source, spec: dict[str, Any], where: str) -> None:
        assert isinstance(source, SeriesSource)
        if source.shape[0] != spec["in_channels"]:
            raise DataError(
                f"'{source.name}' has {source.shape[0]} channels, but the encoder of {where} was "
                f"trained on {spec['in_channels']}."
            )
        if source.shape[1] != spec["length"]:
            raise DataError(
                f"'{source.name}' has series of {source.shape[1]} samples, but the encoder of "
                f"{where} was trained on {spec['length']}; cut or fill them with "
                f"#length={spec['length']} or #window={spec['length']}."
            )
        rate, trained = source.rate, spec["rate"]
        if rate and trained and abs(rate - trained) > 1e-6 * trained:
            raise DataError(
                f"'{source.name}' is sampled at {rate:g} Hz, but the encoder of {where} was "
                f"trained at {trained:g} Hz; bring it there with #resample={trained:g}."
            )

    def reservoir(self, source: Source, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """A tenth of the recordings (or series) is held out, if that is 32 series or more."""
        return grouped_reservoir(source, recipe)

    def raw_features(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """The values of all channels and times."""
        return source.batch(positions).flatten(1).numpy()


def _sizes(name: str) -> list[str]:
    """Which sizes of the data the network called `name` is built with."""
    key = name.lower().replace("-", "_")
    if key not in SERIES_ENCODERS:
        return []  # `build_named` says so
    known = inspect.signature(SERIES_ENCODERS[key][0]).parameters
    return [key for key in ("in_channels", "length", "rate") if key in known]


def _own(network: nn.Module, spec: dict[str, Any]) -> Encoder:
    if not isinstance(network, Encoder):
        raise ConfigError(
            "a series encoder of your own must be a tacit.encoders.series.SeriesEncoder: set `dim` "
            "and `in_channels`, and write `features`"
        )
    if network.in_channels != spec["in_channels"]:
        raise ConfigError(
            f"this {type(network).__name__} is built for {network.in_channels} channels, the data "
            f"have {spec['in_channels']}"
        )
    return network
