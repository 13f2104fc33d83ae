"""Networks that turn samples into vectors, the heads on top of them, and their files."""

from tacit.encoders.adapters import ModuleEncoder, to_features
from tacit.encoders.alexnet import SmallAlexNet
from tacit.encoders.base import Encoder, Features
from tacit.encoders.build import build_encoder, encoder_names
from tacit.encoders.export import NormalizedEncoder, export_encoder
from tacit.encoders.fmri import (
    GARO,
    SERO,
    DynamicFCClassifier,
    DynamicFCEncoder,
    GINEncoder,
    MeanReadout,
    TimeTransformer,
)
from tacit.encoders.gnn import (
    DotGATConv,
    GATConv,
    GCNConv,
    GINConv,
    GNNEncoder,
    MoleculeEncoder,
    SAGEConv,
    global_pool,
)
from tacit.encoders.heads import MLPHead
from tacit.encoders.masked import MaskedAutoencoder1D
from tacit.encoders.resnet import ResNet
from tacit.encoders.series import (
    TCN,
    FourierEncoder,
    LatentMapper,
    MambaBlock,
    MappedEncoder,
    MultiScaleFrameCNN,
    ResNet1D,
    ScalogramEncoder,
    SeriesEncoder,
    SeriesTransformer,
    TemporalContext,
    frame_signal,
)
from tacit.encoders.small import SmallConvNet
from tacit.encoders.store import load_encoder, save_encoder
from tacit.encoders.tokens import sincos_1d, sincos_2d
from tacit.encoders.vit import VisionTransformer

__all__ = [
    "GARO",
    "SERO",
    "TCN",
    "DotGATConv",
    "DynamicFCClassifier",
    "DynamicFCEncoder",
    "Encoder",
    "Features",
    "FourierEncoder",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GINEncoder",
    "GNNEncoder",
    "LatentMapper",
    "MLPHead",
    "MambaBlock",
    "MappedEncoder",
    "MaskedAutoencoder1D",
    "MeanReadout",
    "ModuleEncoder",
    "MoleculeEncoder",
    "MultiScaleFrameCNN",
    "NormalizedEncoder",
    "ResNet",
    "ResNet1D",
    "SAGEConv",
    "ScalogramEncoder",
    "SeriesEncoder",
    "SeriesTransformer",
    "SmallAlexNet",
    "SmallConvNet",
    "TemporalContext",
    "TimeTransformer",
    "VisionTransformer",
    "build_encoder",
    "encoder_names",
    "export_encoder",
    "frame_signal",
    "global_pool",
    "load_encoder",
    "save_encoder",
    "sincos_1d",
    "sincos_2d",
    "to_features",
]
