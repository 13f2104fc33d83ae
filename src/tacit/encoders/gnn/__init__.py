"""Graph networks: layers, the encoder made of them, pooling."""

from .adjacency import Adjacency, edge_softmax, weighted_sum
from .attention import DotGATConv, GATConv
from .convs import GCNConv, GINConv, SAGEConv
from .sparse import SparseRows

__all__ = [
    "Adjacency",
    "DotGATConv",
    "GATConv",
    "GCNConv",
    "GINConv",
    "SAGEConv",
    "SparseRows",
    "edge_softmax",
    "weighted_sum",
]
