"""Graph convolutions without attention: GCN, GIN and GraphSAGE.

Every layer is `layer(x, edge_index)`: x (N, F) dense, torch-sparse or `SparseRows`; edge_index
(2, E) int64, row 0 = source, row 1 = destination. Edges are used as they are: self-loops are added
by the data sources, not here. `rows` (n,) asks for the outputs of these nodes only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tacit.errors import ConfigError

from .adjacency import Adjacency, weighted_sum
from .sparse import Features, SparseRows, as_features, drop, project


def neighbour_sum(h: Tensor, adjacency: Adjacency) -> Tensor:
    """Sum of h (num_sources, D) over the sources of every destination."""
    ones = h.new_ones(adjacency.source.numel(), 1)
    return weighted_sum(ones, h[:, None], adjacency)[:, 0]


def check_sizes(in_dim: int, out_dim: int, **rates: float) -> None:
    """Refuse widths below 1 and dropout rates outside [0, 1)."""
    if in_dim < 1 or out_dim < 1:
        raise ConfigError(f"in_dim and out_dim must be positive, not {in_dim} and {out_dim}")
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"{name} must be in [0, 1), not {rate}")


def residual_branch(in_dim: int, out_dim: int, residual: bool) -> nn.Module | None:
    """The identity where the widths agree, else a linear map without bias; None without it."""
    if not residual:
        return None
    return nn.Identity() if in_dim == out_dim else nn.Linear(in_dim, out_dim, bias=False)


def add_residual(out: Tensor, branch: nn.Module | None, x: Features, rows: Tensor | None) -> Tensor:
    """out + branch(x), at `rows` only where given."""
    if branch is None:
        return out
    if isinstance(x, SparseRows):
        x = x.to_dense()
    return out + branch(x if rows is None else x[rows])


class GCNConv(nn.Module):
    r"""Graph convolution with symmetric normalisation by degrees.

    With A the adjacency as given (self-loops included if wanted) and D its degrees, at least 1:

    - `scale_bias=False`: D_in^{-1/2} A D_out^{-1/2} x W + b (Kipf, Welling 2017).
    - `scale_bias=True`: D_in^{-1/2} (A D_out^{-1/2} x W + b) (official GraphMAE).

    Parameters
    ----------
    in_dim, out_dim : widths.
    feat_drop : dropout of the input.
    residual : add the (projected) input.
    scale_bias : see above.
    init : "linear" = PyTorch's default of a linear layer, "glorot" = uniform Glorot, zero bias.

    >>> layer = GCNConv(3, 2)
    >>> layer(torch.eye(3), torch.tensor([[0, 1, 2], [0, 1, 2]])).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        feat_drop: float = 0.0,
        residual: bool = False,
        bias: bool = True,
        scale_bias: bool = True,
        init: Literal["linear", "glorot"] = "linear",
    ) -> None:
        super().__init__()
        check_sizes(in_dim, out_dim, feat_drop=feat_drop)
        self.in_dim, self.out_dim = in_dim, out_dim
        self.feat_drop, self.scale_bias = feat_drop, scale_bias
        self.linear = nn.Linear(in_dim, out_dim, bias=bias)
        self.residual = residual_branch(in_dim, out_dim, residual)
        if init == "glorot":
            nn.init.xavier_uniform_(self.linear.weight)
            if bias:
                nn.init.zeros_(self.linear.bias)

    def forward(
        self, x: Features, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """(N, in_dim) -> (N, out_dim), or (n, out_dim) at `rows`."""
        x = drop(as_features(x), self.feat_drop, self.training)
        adjacency = Adjacency.build(edge_index, x.shape[0])
        into = adjacency if rows is None else adjacency.restrict(rows)
        weight, bias = self.linear.weight, self.linear.bias
        before = adjacency.out_degree.clamp(min=1).to(weight.dtype).rsqrt()[:, None]
        after = into.in_degree.clamp(min=1).to(weight.dtype).rsqrt()[:, None]
        if isinstance(x, SparseRows) or self.out_dim <= self.in_dim:  # the narrower side travels
            out = neighbour_sum(project(x, weight) * before, into)
        else:
            out = project(neighbour_sum(x * before, into), weight)
        if bias is None:
            out = out * after
        else:
            out = (out + bias) * after if self.scale_bias else out * after + bias
        return add_residual(out, self.residual, x, rows)


class GINConv(nn.Module):
    """MLP((1 + eps) h_i + sum over j -> i of h_j), MLP = Linear - norm - activation - Linear.

    A self-loop among the edges means that h_i counts twice, as in official GraphMAE.

    Parameters
    ----------
    in_dim, out_dim : widths.
    hidden_dim : width inside the MLP; `out_dim` by default.
    norm, act : modules between the two linear maps (None = no norm; ReLU).
    eps, train_eps : weight of the node itself, and whether it is learned.

    References
    ----------
    Xu, Hu, Leskovec, Jegelka, How Powerful are Graph Neural Networks?, 2019, eq. 4.1.

    >>> GINConv(3, 2)(torch.eye(3), torch.tensor([[0, 1], [1, 0]])).shape
    torch.Size([3, 2])
    """

    eps: Tensor

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        hidden_dim: int | None = None,
        norm: nn.Module | None = None,
        act: nn.Module | None = None,
        feat_drop: float = 0.0,
        eps: float = 0.0,
        train_eps: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(in_dim, out_dim, feat_drop=feat_drop)
        self.in_dim, self.out_dim, self.feat_drop = in_dim, out_dim, feat_drop
        hidden = hidden_dim or out_dim
        self.first, self.last = nn.Linear(in_dim, hidden), nn.Linear(hidden, out_dim)
        self.norm, self.act = norm or nn.Identity(), act or nn.ReLU()
        if train_eps:
            self.eps = nn.Parameter(torch.tensor(float(eps)))
        else:
            self.register_buffer("eps", torch.tensor(float(eps)))

    def forward(
        self, x: Features, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """(N, in_dim) -> (N, out_dim), or (n, out_dim) at `rows`."""
        x = drop(as_features(x), self.feat_drop, self.training)
        adjacency = Adjacency.build(edge_index, x.shape[0])
        if rows is not None and isinstance(self.norm, nn.BatchNorm1d):
            return self._forward(x, adjacency, None)[rows]  # its statistics are of all nodes
        return self._forward(x, adjacency, rows)

    def _forward(self, x: Features, adjacency: Adjacency, rows: Tensor | None) -> Tensor:
        into = adjacency if rows is None else adjacency.restrict(rows)
        early = isinstance(x, SparseRows) or self.first.out_features <= self.in_dim
        h = project(x, self.first.weight) if early else x
        assert isinstance(h, Tensor)
        own = h if rows is None else h[rows]
        h = (1 + self.eps) * own + neighbour_sum(h, into)  # linear maps and sums commute
        h = h + self.first.bias if early else self.first(h)
        return self.last(self.act(self.norm(h)))


class SAGEConv(nn.Module):
    """W_self h_i + W_neigh mean over j -> i of h_j + b; a node without neighbours keeps its own.

    References
    ----------
    Hamilton, Ying, Leskovec, Inductive Representation Learning on Large Graphs, 2017, algorithm 1
    with the mean aggregator.

    >>> SAGEConv(3, 2)(torch.eye(3), torch.tensor([[0, 1], [1, 0]])).shape
    torch.Size([3, 2])
    """

    def __init__(self, in_dim: int, out_dim: int, *, feat_drop: float = 0.0) -> None:
        super().__init__()
        check_sizes(in_dim, out_dim, feat_drop=feat_drop)
        self.in_dim, self.out_dim, self.feat_drop = in_dim, out_dim, feat_drop
        self.own, self.neighbour = nn.Linear(in_dim, out_dim), nn.Linear(in_dim, out_dim, False)

    def forward(
        self, x: Features, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """(N, in_dim) -> (N, out_dim), or (n, out_dim) at `rows`."""
        x = drop(as_features(x), self.feat_drop, self.training)
        adjacency = Adjacency.build(edge_index, x.shape[0])
        into = adjacency if rows is None else adjacency.restrict(rows)
        weight = torch.cat([self.own.weight, self.neighbour.weight])
        own, other = project(x, weight).chunk(2, dim=1)
        count = into.in_degree.clamp(min=1).to(other.dtype)[:, None]
        own = own if rows is None else own[rows]
        return own + self.own.bias + neighbour_sum(other, into) / count
