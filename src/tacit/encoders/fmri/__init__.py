"""Networks on dynamic functional connectivity: graph convolution, read-out, time."""

from tacit.encoders.fmri.classifier import DynamicFCClassifier, FCOutput
from tacit.encoders.fmri.dynamic import DynamicFCEncoder
from tacit.encoders.fmri.gin import GINEncoder, GINLayer
from tacit.encoders.fmri.readout import GARO, SERO, MeanReadout, build_readout
from tacit.encoders.fmri.time import TimeTransformer

__all__ = [
    "GARO",
    "SERO",
    "DynamicFCClassifier",
    "DynamicFCEncoder",
    "FCOutput",
    "GINEncoder",
    "GINLayer",
    "MeanReadout",
    "TimeTransformer",
    "build_readout",
]
