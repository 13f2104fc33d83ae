"""Sparse node features: bags of words have one entry in a hundred, and layers should pay for those.

`SparseRows` is what a graph layer takes instead of a dense (N, F) matrix. It also carries the
rows that masking replaced by one learnable vector, so that a masked batch stays sparse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .adjacency import Adjacency, weighted_sum
from .dropout import dropout, keep_mask


@dataclass
class SparseRows:
    """A matrix (N, F) of sparse rows, some of which are one dense vector.

    pattern : row i's columns are the sources of destination i (a bipartite graph).
    values : (nnz,) entries in the order of `pattern`.
    token_rows : (M,) rows that equal `token` (their pattern is empty), or None.
    token : (F,) the vector of those rows.
    token_mask : (M, F) of 0 and 1, which columns of each token row dropout kept, or None = all.
    """

    pattern: Adjacency
    values: Tensor
    token_rows: Tensor | None = None
    token: Tensor | None = None
    token_mask: Tensor | None = None

    @classmethod
    def from_csr(cls, x: Tensor) -> SparseRows:
        """From a torch sparse CSR matrix.

        >>> rows = SparseRows.from_csr(torch.eye(3).to_sparse_csr())
        >>> rows.linear(torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [1.0, 2.0, 3.0]
        """
        pointer = x.crow_indices().long()
        row = torch.repeat_interleave(torch.arange(x.shape[0], device=x.device), pointer.diff())
        return cls(Adjacency(x.col_indices().long(), row, x.shape[1], x.shape[0]), x.values())

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return self.pattern.num_targets, self.pattern.num_sources

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    def take(self, rows: Tensor) -> SparseRows:
        """The rows at `rows` (n,), which may repeat; without token rows."""
        pattern = self.pattern
        lengths = pattern.in_degree[rows]
        starts = pattern.pointer.long()[rows] - (lengths.cumsum(0) - lengths)
        target = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths)
        entries = torch.arange(len(target), device=rows.device) + starts[target]
        taken = Adjacency(pattern.source[entries], target, pattern.num_sources, len(rows))
        return SparseRows(taken, self.values[entries])

    def replaced(self, token_rows: Tensor, token: Tensor, rows: Tensor) -> SparseRows:
        """Row i becomes row rows[i] of the original, and the token where i is in `token_rows`."""
        chosen = self.take(rows)
        keep = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        keep[token_rows] = False
        entries = keep[chosen.pattern.target]
        pattern = Adjacency(
            chosen.pattern.source[entries],
            chosen.pattern.target[entries],
            chosen.pattern.num_sources,
            chosen.pattern.num_targets,
        )
        return SparseRows(pattern, chosen.values[entries], token_rows, token)

    def dropped(self, rate: float) -> SparseRows:
        """After dropout, distributed exactly as on the dense matrix (a dropped zero is a zero)."""
        if rate == 0:
            return self
        values = dropout(self.values, rate, True)
        if self.token_rows is None or self.token is None:
            return SparseRows(self.pattern, values)
        shape = (len(self.token_rows), self.shape[1])
        mask = keep_mask(shape, rate, values)
        return SparseRows(self.pattern, values, self.token_rows, self.token / (1 - rate), mask)

    def linear(self, weight: Tensor) -> Tensor:
        """x W^T for W (H, F)."""
        out = weighted_sum(self.values[:, None], weight.T[:, None], self.pattern)[:, 0]
        if self.token_rows is None or self.token is None or not len(self.token_rows):
            return out
        # (m * t) W^T = m (t * W^T): the mask is constant, so one product each way is enough
        scaled = self.token[:, None] * weight.T
        if self.token_mask is None:
            dense = scaled.sum(0).expand(len(self.token_rows), -1)
        else:
            dense = self.token_mask @ scaled
        return out.index_copy(0, self.token_rows, dense.to(out.dtype))

    def to_dense(self) -> Tensor:
        """The matrix (N, F)."""
        dense = self.values.new_zeros(self.shape)
        index = (self.pattern.target, self.pattern.source)
        dense = dense.index_put(index, self.values, accumulate=True)
        if self.token_rows is None or self.token is None:
            return dense
        rows = self.token.expand(len(self.token_rows), -1)
        rows = rows if self.token_mask is None else rows * self.token_mask
        return dense.index_copy(0, self.token_rows, rows)


Features = Tensor | SparseRows


def as_features(x: Features) -> Features:
    """Dense tensors and `SparseRows` as they are; a torch sparse matrix as `SparseRows`."""
    if isinstance(x, Tensor) and x.layout == torch.sparse_coo:
        x = x.coalesce().to_sparse_csr()
    if isinstance(x, Tensor) and x.layout == torch.sparse_csr:
        return SparseRows.from_csr(x)
    return x


def drop(x: Features, rate: float, training: bool) -> Features:
    """Dropout of dense or sparse features."""
    if isinstance(x, SparseRows):
        return x.dropped(rate if training else 0.0)
    return dropout(x, rate, training)


def project(x: Features, weight: Tensor) -> Tensor:
    """x W^T for dense or sparse x."""
    return x.linear(weight) if isinstance(x, SparseRows) else F.linear(x, weight)
