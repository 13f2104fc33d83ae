"""Edges sorted by destination, and the two operations on them that every graph layer is made of."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


class Adjacency:
    """Edges of a graph in compressed form: for every destination the list of its sources.

    Parameters
    ----------
    source, target : (E,) int64; messages flow source -> target.
    num_sources, num_targets : number of nodes on either side.
    order : (E,) position of every edge in the list it was made from.

    `target` must be sorted; `Adjacency.build` sorts.
    """

    def __init__(
        self,
        source: Tensor,
        target: Tensor,
        num_sources: int,
        num_targets: int,
        order: Tensor | None = None,
    ) -> None:
        self.source, self.target, self.order = source, target, order
        self.num_sources, self.num_targets = num_sources, num_targets
        small = max(num_sources, num_targets, source.numel()) < 2**31
        self.index_dtype = torch.int32 if small else torch.int64

    @classmethod
    def build(cls, edge_index: Tensor | Adjacency, num_nodes: int) -> Adjacency:
        """From `edge_index` (2, E), row 0 = source, row 1 = destination.

        Raises
        ------
        ValueError : not integers of shape (2, E), or a node that does not exist.

        >>> Adjacency.build(torch.tensor([[0, 2, 1], [1, 0, 1]]), 3).source.tolist()
        [2, 0, 1]
        """
        if isinstance(edge_index, Adjacency):
            if edge_index.num_sources != num_nodes:
                raise ValueError(
                    f"edges among {edge_index.num_sources} nodes, but features of {num_nodes}"
                )
            return edge_index
        check_edges(edge_index, num_nodes)
        source, target = edge_index
        target, order = torch.sort(target, stable=True)
        return cls(source[order], target, num_nodes, num_nodes, order)

    @cached_property
    def pointer(self) -> Tensor:
        """(num_targets + 1,) where the edges of every destination start."""
        return _pointer(self.in_degree, self.index_dtype)

    @cached_property
    def column(self) -> Tensor:
        """`source` in the integer type of `pointer`."""
        return self.source.to(self.index_dtype)

    @cached_property
    def in_degree(self) -> Tensor:
        """(num_targets,) edges that end at a node."""
        return torch.bincount(self.target, minlength=self.num_targets)

    @cached_property
    def out_degree(self) -> Tensor:
        """(num_sources,) edges that start at a node."""
        return torch.bincount(self.source, minlength=self.num_sources)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """(pointer, column, permutation of the edges) of the reversed graph."""
        permutation = torch.argsort(self.source, stable=True)
        column = self.target[permutation].to(self.index_dtype)
        return _pointer(self.out_degree, self.index_dtype), column, permutation

    @cached_property
    def _with_heads(self) -> dict[int, Adjacency]:
        return {}

    def with_heads(self, heads: int) -> Adjacency:
        """K copies of the graph, node i of copy k as i K + k: one sparse product for all heads.

        `order` of the result says which entry of a flattened (E, K) belongs to each of its edges.
        """
        if heads not in self._with_heads:
            copies = torch.arange(heads, device=self.source.device)
            target = (self.target[:, None] * heads + copies).flatten()
            target, order = torch.sort(target, stable=True)
            source = (self.source[:, None] * heads + copies).flatten()[order]
            sizes = self.num_sources * heads, self.num_targets * heads
            self._with_heads[heads] = Adjacency(source, target, *sizes, order)
        return self._with_heads[heads]

    def restrict(self, rows: Tensor) -> Adjacency:
        """Only the edges into `rows` (n,); destination i of the result is node rows[i]."""
        lengths = self.in_degree[rows]
        target = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths)
        starts = self.pointer.long()[rows] - (lengths.cumsum(0) - lengths)
        edges = torch.arange(len(target), device=rows.device) + starts[target]
        return Adjacency(self.source[edges], target, self.num_sources, len(rows))


def check_edges(edge_index: Tensor, num_nodes: int) -> None:
    """Refuse edges that are not pairs of existing nodes."""
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise ValueError(
            f"edge_index must be integers of shape (2, E), row 0 = source, row 1 = destination, "
            f"not {edge_index.dtype} of shape {tuple(edge_index.shape)}"
        )
    if edge_index.numel():
        low, high = int(edge_index.min()), int(edge_index.max())
        if low < 0 or high >= num_nodes:
            raise ValueError(
                f"edge_index names node {low if low < 0 else high}, but the graph has "
                f"{num_nodes} nodes (0..{num_nodes - 1})"
            )


def weighted_sum(weight: Tensor, h: Tensor, adjacency: Adjacency) -> Tensor:
    """out_i = sum over edges e = (j -> i) of weight_e h_j, each head by its own weights.

    Never holds a message an edge: a sparse matrix product a head.

    Parameters
    ----------
    weight : (E, K) in the order of `adjacency`.
    h : (num_sources, K, D).

    Returns
    -------
    (num_targets, K, D), in float32 or float64.

    >>> path = Adjacency.build(torch.tensor([[0, 1], [1, 2]]), 3)
    >>> weighted_sum(torch.ones(2, 1), torch.eye(3)[:, None], path)[:, 0].tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    dtype = torch.float64 if h.dtype == torch.float64 else torch.float32
    heads, width = h.shape[1:]
    weight = weight.to(dtype).flatten()
    if heads > 1:
        adjacency = adjacency.with_heads(heads)
        weight = weight[adjacency.order]
    with torch.autocast(h.device.type, enabled=False):
        out = _WeightedSum.apply(weight, h.to(dtype).reshape(-1, width), adjacency)
    return out.view(-1, heads, width)


def edge_softmax(score: Tensor, adjacency: Adjacency) -> Tensor:
    """Softmax of (E, K) scores over the edges into each node, the node's maximum subtracted.

    >>> star = Adjacency.build(torch.tensor([[0, 1], [2, 2]]), 3)
    >>> edge_softmax(torch.tensor([[1000.0], [1000.0]]), star).tolist()
    [[0.5], [0.5]]
    """
    index = adjacency.target[:, None].expand_as(score)
    shape = (adjacency.num_targets, score.shape[1])
    peak = score.detach().new_full(shape, -torch.inf)
    peak = peak.scatter_reduce(0, index, score.detach(), "amax")
    power = (score - peak[adjacency.target]).exp()
    total = power.new_zeros(shape).index_add(0, adjacency.target, power)
    return power / total[adjacency.target]


class _WeightedSum(torch.autograd.Function):
    """The sparse matrix of the weights (E,) times h (num_sources, D)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, h: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.save_for_backward(weight, h)
        ctx.adjacency = adjacency
        return _product(adjacency.pointer, adjacency.column, weight, h)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, h = ctx.saved_tensors
        a: Adjacency = ctx.adjacency
        grad_weight = grad_h = None
        if ctx.needs_input_grad[0]:
            grad_weight = _edge_products(a, grad, h)
        if ctx.needs_input_grad[1]:
            pointer, column, permutation = a.transposed
            grad_h = _product(pointer, column, weight[permutation], grad)
        return grad_weight, grad_h, None


def _pointer(degree: Tensor, dtype: torch.dtype) -> Tensor:
    pointer = torch.zeros(len(degree) + 1, dtype=dtype, device=degree.device)
    pointer[1:] = degree.cumsum(0)
    return pointer


def _fast(h: Tensor) -> bool:
    """Whether torch has sparse matrix products here (MKL or cuSPARSE)."""
    return h.is_cuda or (h.device.type == "cpu" and torch.backends.mkl.is_available())


def _matrix(pointer: Tensor, column: Tensor, values: Tensor, columns: int) -> Tensor:
    shape = (len(pointer) - 1, columns)
    return torch.sparse_csr_tensor(pointer, column, values, shape, check_invariants=False)


def _product(pointer: Tensor, column: Tensor, weight: Tensor, h: Tensor) -> Tensor:
    """The CSR matrix (pointer, column, weight) times h."""
    rows = len(pointer) - 1
    if not column.numel() or not h.numel():
        return h.new_zeros(rows, h.shape[1])
    if _fast(h):
        return _matrix(pointer, column, weight, len(h)) @ h
    row = torch.repeat_interleave(torch.arange(rows, device=h.device), pointer.long().diff())
    return h.new_zeros(rows, h.shape[1]).index_add_(0, row, weight[:, None] * h[column])


def _edge_products(a: Adjacency, grad: Tensor, h: Tensor) -> Tensor:
    """<grad_i, h_j> for every edge j -> i: (E,)."""
    if not (_fast(h) and a.source.numel() and h.numel()):
        return (grad[a.target] * h[a.source]).sum(-1)
    pattern = _matrix(a.pointer, a.column, h.new_zeros(a.source.numel()), a.num_sources)
    return torch.sparse.sampled_addmm(pattern, grad.contiguous(), h.T, beta=0.0).values()
