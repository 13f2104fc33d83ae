"""Images: uint8 (n, C, H, W), augmented on tensors, read by convolutions and transformers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tacit.data import ImageSource, Source
from tacit.defaults import METHOD, default_recipe
from tacit.encoders.base import Encoder
from tacit.encoders.build import build_encoder, encoder_key
from tacit.errors import DataError
from tacit.modalities.base import Modality
from tacit.recipe import Recipe
from tacit.views import EvalView, build_views


class ChannelsLast(nn.Module):
    """Images of a view channels-last: convolutions take half the time; the values are the same."""

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, *raw: Any) -> Any:
        made = self.view(*raw)
        return [_last(image) for image in made] if isinstance(made, list) else _last(made)


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


class Image(Modality):
    """Images of one shape."""

    name: ClassVar[str] = "image"
    default_method: ClassVar[str] = METHOD

    def default_recipe(self, data: str) -> Recipe:
        return default_recipe(data)

    def complete(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        encoder = "resnet18" if torch.cuda.is_available() else "small"
        return {"image_size": source.shape[-1], "encoder": recipe.encoder or encoder}  # type: ignore[attr-defined]

    def input_spec(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        mean, std = source.statistics()  # type: ignore[attr-defined]
        channels, size = source.shape[0], recipe.image_size  # type: ignore[attr-defined]
        return {"in_channels": channels, "image_size": size, "mean": mean, "std": std}

    def check_encoder(self, name: str) -> None:
        encoder_key(name)

    def build_encoder(
        self, name: str | nn.Module, spec: dict[str, Any], options: dict[str, Any]
    ) -> Encoder:
        return build_encoder(
            name, in_channels=spec["in_channels"], image_size=spec["image_size"], **options
        )

    def training_views(self, recipe: Recipe, spec: dict[str, Any]) -> nn.Module:
        """A `view_scale` other than 1 rounds the side to a multiple of 8."""
        side = spec["image_size"]
        if recipe.view_scale != 1.0:
            side = max(8, 8 * round(recipe.view_scale * side / 8))
        views = build_views(
            recipe.views,
            image_size=side,
            channels=spec["in_channels"],
            mean=spec["mean"],
            std=spec["std"],
            n_views=recipe.n_views,
            **recipe.views_options,
        )
        return ChannelsLast(views)

    def eval_view(self, spec: dict[str, Any]) -> nn.Module:
        return ChannelsLast(EvalView(spec["image_size"], spec["mean"], spec["std"]))

    def converted(self, source: Source, spec: dict[str, Any]) -> Source:
        """Grey images are read by an encoder of colour; colour is never thrown away."""
        assert isinstance(source, ImageSource)
        grey_for_colour = source.shape[0] == 1 and spec["in_channels"] == 3
        return source.in_colour() if grey_for_colour else source

    def check(self, source: Source, spec: dict[str, Any], where: str) -> None:
        channels = source.shape[0]  # type: ignore[attr-defined]
        if channels != spec["in_channels"]:
            advice = "Convert the images to grey." if spec["in_channels"] == 1 else ""
            raise DataError(
                f"'{source.name}' has {channels} channels, but the encoder of {where} was trained "
                f"on {spec['in_channels']}. {advice}".rstrip()
            )

    def raw_features(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """Pixels in [0, 1]."""
        return source.batch(positions).flatten(1).float().numpy() / 255
