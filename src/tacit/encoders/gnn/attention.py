"""Graph attention: additive (GAT) and dot-product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adjacency import Adjacency, edge_softmax, weighted_sum
from .convs import add_residual, check_sizes, residual_branch
from .dropout import dropout
from .sparse import Features, as_features, drop, project

GAIN = 2**0.5  # Xavier normal with the gain of ReLU


class GATConv(nn.Module):
    r"""Graph attention with K heads.

    e_ij = LeakyReLU(a_src . W h_j + a_dst . W h_i), alpha = softmax over the edges into i,
    out_i = concatenation over heads of sum_j alpha_ij W h_j, + bias (+ residual).

    The maximum is subtracted per destination. Where a head is wider than the input, features are
    summed first and multiplied by W afterwards, which is the same and never holds E x out_dim.

    Parameters
    ----------
    in_dim, out_dim : width of the input and of ONE head; the output has heads * out_dim columns.
    heads : K.
    feat_drop, attn_drop : dropout of the input and of alpha.
    residual : add the input (as dropped out), projected where the widths differ.

    Raises
    ------
    ValueError
        A node has no incoming edge: its softmax is empty. Add self-loops (the sources do).

    References
    ----------
    Veličković et al., Graph Attention Networks, 2018, eq. 3-6.

    >>> loops = torch.arange(3).expand(2, 3)
    >>> GATConv(3, 2, heads=4)(torch.eye(3), loops).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int = 1,
        *,
        feat_drop: float = 0.0,
        attn_drop: float = 0.0,
        negative_slope: float = 0.2,
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(in_dim, out_dim, feat_drop=feat_drop, attn_drop=attn_drop)
        self.in_dim, self.out_dim, self.heads = in_dim, out_dim, heads
        self.feat_drop, self.attn_drop, self.negative_slope = feat_drop, attn_drop, negative_slope
        self.weight = nn.Parameter(torch.empty(heads * out_dim, in_dim))
        self.attn_src = nn.Parameter(torch.empty(1, heads, out_dim))
        self.attn_dst = nn.Parameter(torch.empty(1, heads, out_dim))
        self.bias = nn.Parameter(torch.zeros(heads * out_dim)) if bias else None
        self.residual = residual_branch(in_dim, heads * out_dim, residual)
        for parameter in (self.weight, self.attn_src, self.attn_dst):
            nn.init.xavier_normal_(parameter, gain=GAIN)
        if isinstance(self.residual, nn.Linear):
            nn.init.xavier_normal_(self.residual.weight, gain=GAIN)

    def forward(
        self, x: Features, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """(N, in_dim) -> (N, heads * out_dim), or (n, heads * out_dim) at `rows`."""
        x = drop(as_features(x), self.feat_drop, self.training)
        adjacency = Adjacency.build(edge_index, x.shape[0])
        if isinstance(x, Tensor) and self.out_dim > self.in_dim:
            sums = self._weighted_inputs(x, adjacency, rows)
            # one head: a plain product, twice as fast as a batched one
            w = self.weight.unflatten(0, (self.heads, self.out_dim))
            one = self.heads == 1
            out = F.linear(sums, w[0]) if one else torch.einsum("nki,kdi->nkd", sums, w)
        else:
            both = project(x, torch.cat([self.weight, self._score_weights()]))
            h = both[:, : -2 * self.heads].unflatten(1, (self.heads, self.out_dim))
            source, target = both[:, -2 * self.heads :].chunk(2, dim=1)
            out = self._attend(source, target, h, adjacency, rows)
        out = out.flatten(1)
        if self.bias is not None:
            out = out + self.bias
        return add_residual(out, self.residual, x, rows)

    def weighted_inputs(
        self, x: Tensor, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """Attention-weighted sums of the (dropped-out) inputs, (n, heads, in_dim).

        Times W of each head they are the output, without bias and residual.
        """
        x = drop(x, self.feat_drop, self.training)  # type: ignore[assignment]
        return self._weighted_inputs(x, Adjacency.build(edge_index, x.shape[0]), rows)

    def _weighted_inputs(self, x: Tensor, adjacency: Adjacency, rows: Tensor | None) -> Tensor:
        source, target = F.linear(x, self._score_weights()).chunk(2, dim=1)
        h = x.unsqueeze(1).expand(-1, self.heads, -1)
        return self._attend(source, target, h, adjacency, rows)

    def _score_weights(self) -> Tensor:
        """(2 K, in_dim): a . (W h) = (W^T a) . h for every head, sources first."""
        w = self.weight.unflatten(0, (self.heads, self.out_dim))
        vectors = torch.cat([self.attn_src, self.attn_dst])  # (2, K, D)
        return torch.einsum("skd,kdi->ski", vectors, w).flatten(0, 1)

    def _attend(
        self, source: Tensor, target: Tensor, h: Tensor, adjacency: Adjacency, rows: Tensor | None
    ) -> Tensor:
        """Sums of h weighted by the attention of scores (N, K) of either end."""
        into = adjacency if rows is None else adjacency.restrict(rows)
        check_incoming(into)
        target = target if rows is None else target[rows]
        score = F.leaky_relu(source[into.source] + target[into.target], self.negative_slope)
        alpha = dropout(edge_softmax(score, into), self.attn_drop, self.training)
        return weighted_sum(alpha, h, into)


class DotGATConv(nn.Module):
    """Graph attention by dot products: alpha = softmax of <W h_i, W h_j> / sqrt(D), no bias.

    Parameters are those of `GATConv`.

    >>> loops = torch.arange(3).expand(2, 3)
    >>> DotGATConv(3, 2, heads=4)(torch.eye(3), loops).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int = 1,
        *,
        feat_drop: float = 0.0,
        attn_drop: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(in_dim, out_dim, feat_drop=feat_drop, attn_drop=attn_drop)
        self.in_dim, self.out_dim, self.heads = in_dim, out_dim, heads
        self.feat_drop, self.attn_drop = feat_drop, attn_drop
        self.linear = nn.Linear(in_dim, heads * out_dim, bias=False)
        self.residual = residual_branch(in_dim, heads * out_dim, residual)

    def forward(
        self, x: Features, edge_index: Tensor | Adjacency, rows: Tensor | None = None
    ) -> Tensor:
        """(N, in_dim) -> (N, heads * out_dim), or (n, heads * out_dim) at `rows`."""
        x = drop(as_features(x), self.feat_drop, self.training)
        adjacency = Adjacency.build(edge_index, x.shape[0])
        into = adjacency if rows is None else adjacency.restrict(rows)
        check_incoming(into)
        h = project(x, self.linear.weight).unflatten(1, (self.heads, self.out_dim))
        own = h if rows is None else h[rows]
        score = (own[into.target] * h[into.source]).sum(-1) / self.out_dim**0.5
        alpha = dropout(edge_softmax(score, into), self.attn_drop, self.training)
        return add_residual(weighted_sum(alpha, h, into).flatten(1), self.residual, x, rows)


def check_incoming(adjacency: Adjacency) -> None:
    """Refuse nodes over whose (absent) incoming edges no softmax exists."""
    empty = int((adjacency.in_degree == 0).sum())
    if empty:
        raise ValueError(
            f"{empty} of {adjacency.num_targets} nodes have no incoming edge, so attention has "
            "nothing to weigh; add self-loops first (tacit.data.graph.add_self_loops)"
        )
