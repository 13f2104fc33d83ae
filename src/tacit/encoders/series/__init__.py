"""Encoders of time series, all of which read (n, C, T), and the table of their names."""

from __future__ import annotations

from typing import Any

from tacit.encoders.series.base import SeriesEncoder
from tacit.encoders.series.fourier import FourierEncoder
from tacit.encoders.series.frame_transformer import FrameTransformer
from tacit.encoders.series.frames import frame_signal
from tacit.encoders.series.mamba import MambaBlock, MambaEncoder, selective_scan
from tacit.encoders.series.mapped import LatentMapper, MappedEncoder
from tacit.encoders.series.multiscale import MultiScaleCNN, MultiScaleFrameCNN
from tacit.encoders.series.resnet import ResNet1D
from tacit.encoders.series.scalogram import ScalogramEncoder
from tacit.encoders.series.tcn import TCN
from tacit.encoders.series.temporal_context import EpochClassifier, TemporalContext
from tacit.encoders.series.transformer import SeriesTransformer

# name -> class, defaults that options may override; sizes are in_channels and length
SERIES_ENCODERS: dict[str, tuple[type[SeriesEncoder], dict[str, Any]]] = {
    "resnet1d": (ResNet1D, {}),
    "fourier": (FourierEncoder, {}),
    "scalogram": (ScalogramEncoder, {"scales": 48}),
    "tcn": (TCN, {}),
    "transformer": (SeriesTransformer, {}),
    "mamba": (MambaEncoder, {}),
    "multiscale": (MultiScaleCNN, {}),
    "neuronet_t": (FrameTransformer, {"dim": 512, "heads": 8, "depth": 4}),
    "neuronet_b": (FrameTransformer, {"dim": 768, "heads": 8, "depth": 4}),
}

__all__ = [
    "SERIES_ENCODERS",
    "TCN",
    "EpochClassifier",
    "FourierEncoder",
    "FrameTransformer",
    "LatentMapper",
    "MambaBlock",
    "MambaEncoder",
    "MappedEncoder",
    "MultiScaleCNN",
    "MultiScaleFrameCNN",
    "ResNet1D",
    "ScalogramEncoder",
    "SeriesEncoder",
    "SeriesTransformer",
    "TemporalContext",
    "frame_signal",
    "selective_scan",
]
