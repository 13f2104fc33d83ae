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
from tacit.encoders.resnet import ResNet
from tacit.encoders.series import (
    TCN,
    FourierEncoder,
    LatentMapper,
    MappedEncoder,
    ResNet1D,
    ScalogramEncoder,
    SeriesEncoder,
    SeriesTransformer,
)
from tacit.encoders.small import SmallConvNet
from tacit.encoders.store import load_encoder, save_encoder
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
    "MappedEncoder",
    "MeanReadout",
    "ModuleEncoder",
    "MoleculeEncoder",
    "NormalizedEncoder",
    "ResNet",
    "ResNet1D",
    "SAGEConv",
    "ScalogramEncoder",
    "SeriesEncoder",
    "SeriesTransformer",
    "SmallAlexNet",
    "SmallConvNet",
    "TimeTransformer",
    "VisionTransformer",
    "build_encoder",
    "encoder_names",
    "export_encoder",
    "global_pool",
    "load_encoder",
    "save_encoder",
    "to_features",
]
