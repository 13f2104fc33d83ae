"""Graph networks: layers, the encoder made of them, pooling."""

from .adjacency import Adjacency, edge_softmax, weighted_sum
from .attention import DotGATConv, GATConv
from .convs import GCNConv, GINConv, SAGEConv
from .encoder import GNNEncoder, build_conv
from .molecule import BondGINConv, MoleculeEncoder
from .pool import global_pool
from .sparse import SparseRows

__all__ = [
    "Adjacency",
    "BondGINConv",
    "DotGATConv",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GNNEncoder",
    "MoleculeEncoder",
    "SAGEConv",
    "SparseRows",
    "build_conv",
    "edge_softmax",
    "global_pool",
    "weighted_sum",
]
