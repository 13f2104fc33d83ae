"""What every encoder of time series shares: its check of the input, and features along time."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from tacit.encoders.base import Encoder, Features


class SeriesEncoder(Encoder):
    """Base of the networks that read series (n, C, T); `patches` of the features are times.

    A subclass sets `dim` and `in_channels`, and writes `features`. Inputs are float, already
    normalised.
    """

    @abstractmethod
    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        """Pooled vector, and one vector a time step where the network has them."""

    def forward(self, x: Float[Tensor, "batch channels time"]) -> Float[Tensor, "batch dim"]:  # type: ignore[override]
        return self.features(x).pooled

    def check_series(self, x: Tensor, length: int | None = None) -> None:
        """Refuse a batch that this network cannot read, in words.

        Parameters
        ----------
        x : the batch.
        length : the number of time steps, where the network is built for one length.

        Raises
        ------
        ValueError
            Not three dimensions, not `in_channels` channels, another length, or not floating point.
        """
        if torch.jit.is_tracing():  # shapes are constants of the trace
            return
        if x.ndim != 3:
            raise ValueError(
                f"expected a batch of series (n, channels, time), got shape {tuple(x.shape)}; add "
                "the batch axis to a single series with x[None]"
            )
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"expected {self.in_channels} channels, got {x.shape[1]} in shape "
                f"{tuple(x.shape)}; build the encoder with in_channels={x.shape[1]}"
            )
        if length is not None and x.shape[2] != length:
            raise ValueError(
                f"this {type(self).__name__} is built for series of {length} samples, got "
                f"{x.shape[2]}; build it with length={x.shape[2]}"
            )
        if not x.is_floating_point():
            raise ValueError(f"expected float series, got {x.dtype}; convert with x.float()")


def time_features(
    x: Float[Tensor, "batch dim time"], pooled: Float[Tensor, "batch out"]
) -> Features:
    """Features of a map along time: `pooled`, and every step as a patch."""
    return Features(pooled, x.transpose(1, 2), (x.shape[2],))
