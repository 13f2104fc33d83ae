"""Encoders of time series, all of which read (n, C, T), and the table of their names."""

from __future__ import annotations

from typing import Any

from tacit.encoders.series.base import SeriesEncoder
from tacit.encoders.series.fourier import FourierEncoder
from tacit.encoders.series.mapped import LatentMapper, MappedEncoder
from tacit.encoders.series.resnet import ResNet1D
from tacit.encoders.series.scalogram import ScalogramEncoder
from tacit.encoders.series.tcn import TCN
from tacit.encoders.series.transformer import SeriesTransformer

# name -> class, defaults that options may override; sizes are in_channels and length
SERIES_ENCODERS: dict[str, tuple[type[SeriesEncoder], dict[str, Any]]] = {
    "resnet1d": (ResNet1D, {}),
    "fourier": (FourierEncoder, {}),
    "scalogram": (ScalogramEncoder, {"scales": 48}),
    "tcn": (TCN, {}),
    "transformer": (SeriesTransformer, {}),
}

__all__ = [
    "SERIES_ENCODERS",
    "TCN",
    "FourierEncoder",
    "LatentMapper",
    "MappedEncoder",
    "ResNet1D",
    "ScalogramEncoder",
    "SeriesEncoder",
    "SeriesTransformer",
]
