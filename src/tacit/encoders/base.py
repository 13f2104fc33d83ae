"""What every encoder gives: one vector an image, and patch vectors where the network has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Features(NamedTuple):
    """The output of an encoder before any head.

    Attributes
    ----------
    pooled : (N, D) one vector a sample.
    patches : (N, P, D) one vector a position in row-major order of the grid, or None.
    grid : the number of positions along each axis, (h, w) for images; P is their product.
    """

    pooled: Float[Tensor, "batch dim"]
    patches: Float[Tensor, "batch patches dim"] | None = None
    grid: tuple[int, ...] | None = None


class Encoder(nn.Module, ABC):
    """Base of the networks: `features(x)` gives everything, `forward(x)` only the pooled vector.

    A subclass sets `dim` (the width D) and `in_channels`, and writes `features`. Inputs are
    float images (N, C, H, W), already normalised.

    >>> from tacit.encoders import build_encoder
    >>> encoder = build_encoder("small", in_channels=3, image_size=32)
    >>> encoder(torch.zeros(2, 3, 32, 32)).shape == (2, encoder.dim)
    True
    """

    dim: int
    in_channels: int

    @abstractmethod
    def features(self, x: Float[Tensor, "batch channels height width"]) -> Features:
        """Pooled and patch features of a batch of normalised images."""

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        return self.features(x).pooled

    def check_images(self, x: Tensor) -> None:
        """Refuse a batch that this network cannot read, in words.

        Raises
        ------
        ValueError
            Not four dimensions, not `in_channels` channels, or not floating point.
        """
        if (
            torch.jit.is_tracing()
        ):  # shapes are constants of the trace: nothing to check at run time
            return
        if x.ndim != 4:
            raise ValueError(
                f"expected a batch of images (N, C, H, W), got shape {tuple(x.shape)}; "
                "add the batch axis to a single image with x[None]"
            )
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"expected {self.in_channels} channels, got {x.shape[1]} in shape "
                f"{tuple(x.shape)}; build the encoder with in_channels={x.shape[1]}"
            )
        if not x.is_floating_point():
            raise ValueError(
                f"expected normalised float images, got {x.dtype}; "
                "divide by 255 and normalise first (tacit.views.EvalView does)"
            )


def map_features(x: Float[Tensor, "batch dim height width"]) -> Features:
    """Features of a convolutional map: the mean over positions, and every position as a patch."""
    return Features(x.mean(dim=(2, 3)), x.flatten(2).transpose(1, 2), tuple(x.shape[2:]))
