"""The encoder of molecules: atom and bond embeddings, GIN layers that add the bonds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.data.graph_batch import GraphBatch
from tacit.encoders.base import Encoder
from tacit.encoders.base import Features as Output
from tacit.errors import ConfigError

from .adjacency import Adjacency
from .convs import neighbour_sum
from .pool import Pooling, global_pool

ATOM_TYPES, CHIRALITIES = 119, 3  # the mask is one more atom type
BOND_TYPES, BOND_DIRECTIONS = 6, 3  # single, double, triple, aromatic, self-loop, mask
MASK_ATOM, SELF_LOOP = ATOM_TYPES, 4


class BondGINConv(nn.Module):
    """MLP(sum over bonds j - i and a self-loop of h_j + e_ij), MLP = Linear - ReLU - Linear.

    e_ij is the embedding of the bond's type plus that of its direction; the self-loop has type 4.
    Bonds are counted by type first, so that no embedding is held for every bond.

    Parameters
    ----------
    in_dim, out_dim : widths; the MLP is twice as wide as the input.

    References
    ----------
    Hu et al., Strategies for Pre-training Graph Neural Networks, 2020; official code of GraphMAE.

    >>> bond = torch.tensor([[0, 1], [1, 0]])
    >>> BondGINConv(4, 2)(torch.ones(2, 4), bond, torch.zeros(2, 2, dtype=torch.long)).shape
    torch.Size([2, 2])
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(in_dim, 2 * in_dim), nn.Linear(2 * in_dim, out_dim)
        self.bond_type = nn.Embedding(BOND_TYPES, in_dim)
        self.bond_direction = nn.Embedding(BOND_DIRECTIONS, in_dim)
        nn.init.xavier_uniform_(self.bond_type.weight)
        nn.init.xavier_uniform_(self.bond_direction.weight)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """x (N, in_dim), edge_index (2, E) without self-loops, edge_attr (E, 2) integers."""
        total = x + neighbour_sum(x, Adjacency.build(edge_index, len(x)))
        total = total + self.bond_type.weight[SELF_LOOP] + self.bond_direction.weight[0]
        for column, table in enumerate((self.bond_type.weight, self.bond_direction.weight)):
            place = edge_index[1] * len(table) + edge_attr[:, column]
            counts = torch.bincount(place, minlength=len(x) * len(table)).view(len(x), -1)
            total = total + counts.to(table.dtype) @ table
        return self.last(self.first(total).relu())


class MoleculeEncoder(Encoder):
    """Atom type and chirality embedded and added, then GIN layers with bonds and batch norm.

    ReLU after every layer but the last.

    Parameters
    ----------
    hidden : width of everything.
    layers : number of layers, at least 2.
    dropout : after every layer.
    pool : how atoms become one vector a molecule.

    >>> atoms = torch.tensor([[5, 0], [7, 0]])
    >>> bond = torch.tensor([[0, 1], [1, 0]])
    >>> encoder = MoleculeEncoder(hidden=8, layers=2)
    >>> encoder.atoms(atoms, bond, torch.zeros(2, 2, dtype=torch.long)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, *, hidden: int = 300, layers: int = 5, dropout: float = 0.0, pool: Pooling = "mean"
    ) -> None:
        super().__init__()
        if layers < 2:
            raise ConfigError(f"the encoder of molecules needs at least 2 layers, not {layers}")
        self.dim, self.in_channels, self.in_dim, self.pool = hidden, 2, 2, pool
        self.atom_type = nn.Embedding(ATOM_TYPES + 1, hidden)
        self.chirality = nn.Embedding(CHIRALITIES, hidden)
        nn.init.xavier_uniform_(self.atom_type.weight)
        nn.init.xavier_uniform_(self.chirality.weight)
        self.convs = nn.ModuleList(BondGINConv(hidden, hidden) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def atoms(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Vectors of the atoms (N, hidden) from x (N, 2) = type and chirality."""
        if x.is_floating_point() or x.shape[1] != 2:
            raise ValueError(
                f"atoms must be integers (N, 2) of type and chirality, not {x.dtype} of shape "
                f"{tuple(x.shape)}"
            )
        h = self.atom_type(x[:, 0]) + self.chirality(x[:, 1])
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = norm(conv(h, edge_index, edge_attr))
            h = self.dropout(h.relu() if i < len(self.convs) - 1 else h)
        return h

    def features(self, x: GraphBatch) -> Output:  # type: ignore[override]
        """One vector a molecule."""
        if x.edge_attr is None or x.batch is None:
            raise ValueError("molecules need bond attributes and the molecule of every atom")
        h = self.atoms(x.x, x.edge_index, x.edge_attr)
        return Output(global_pool(h, x.batch, self.pool, len(x)))
