"""The singular values and covariance eigenvalues of an embedding matrix, in bounded memory."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.errors import CollapseError

from .inputs import check_finite, check_matrix, iter_blocks, select_rows, to_tensor, unit_rows

#: numbers of a matrix up to which it is decomposed itself (32 MB in float64)
DENSE_NUMBERS = 2**22


class Moments(NamedTuple):
    """Second moments of N rows: `gram` (d, d) is the sum of x x^T, `scatter` the centred sum."""

    gram: Tensor
    scatter: Tensor
    mean: Tensor


class Accumulator:
    """Sum and second moments of rows that arrive block by block.

    Rows are shifted by the first one, against cancellation: constant columns then give an exact
    zero of variance.
    """

    def __init__(self, first: Tensor) -> None:
        self.shift = first.clone()
        self.count = 0
        self.total = torch.zeros_like(first)
        self.product = first.new_zeros(len(first), len(first))

    def add(self, rows: Tensor) -> None:
        shifted = rows - self.shift
        self.count += len(rows)
        self.total += shifted.sum(0)
        self.product.addmm_(shifted.T, shifted)

    def moments(self) -> Moments:
        offset = self.total / self.count
        scatter = self.product - self.count * torch.outer(offset, offset)
        cross = torch.outer(self.shift, self.total)
        gram = self.product + cross + cross.T + self.count * torch.outer(self.shift, self.shift)
        return Moments(gram, scatter, self.shift + offset)


def second_moments(Z: Tensor | np.ndarray, *, normalize: bool = False) -> Moments:
    """Moments of the rows of `Z`, or of the rows scaled to unit length; one pass, float64."""
    prepare = unit_rows if normalize else torch.Tensor.double
    sums = Accumulator(prepare(to_tensor(Z[:1], torch.float64))[0])
    for _, block in iter_blocks(Z, torch.float64):
        sums.add(prepare(block))
    return sums.moments()


class Spectrum:
    """Lazily computed spectra of `Z` (N, d), each at most once, in float64.

    Two routes. A matrix of up to `DENSE_NUMBERS`, or with N < 4 d, goes through an SVD (exact to
    rounding). Of a larger one only the d x d second moments are decomposed, accumulated block by
    block: memory does not grow with N. Squaring blurs singular values below about 1e-8 of the
    largest one: of rank-deficient embeddings RankMe is then too high by about 1e-6 of its value.
    """

    def __init__(self, Z: Tensor | np.ndarray, *, check: bool = True) -> None:
        check_matrix(Z, "Z")
        if check:
            check_finite(Z, "Z")
        self.rows = Z
        self.n, self.d = int(Z.shape[0]), int(Z.shape[1])
        self.k = min(self.n, self.d)

    @cached_property
    def dense(self) -> Tensor | None:
        """The whole matrix in float64 where the SVD route is taken, else None."""
        if self.n < 4 * self.d or self.n * self.d <= DENSE_NUMBERS:
            return to_tensor(self.rows, torch.float64)
        return None

    @cached_property
    def moments(self) -> Moments:
        return second_moments(self.rows)

    @cached_property
    def singular(self) -> Tensor:
        """Singular values of the uncentred matrix (K,), largest first."""
        if self.dense is not None:
            values = torch.linalg.svdvals(self.dense)
        else:
            values = torch.linalg.eigvalsh(self.moments.gram).clamp_min(0).sqrt().flip(0)
        if not values[0] > 0:
            raise CollapseError(
                "embeddings are all zero (collapsed): no criterion is defined on them."
            )
        return values

    @cached_property
    def eigen(self) -> Tensor:
        """Eigenvalues (K,) of the covariance (divisor N - 1), largest first."""
        if self.n < 2:
            raise ValueError("a covariance needs at least 2 rows; Z has 1.")
        if self.dense is not None:
            # A constant column must give an exact zero, so shift by a row before the mean.
            shifted = self.dense - self.dense[0]
            return torch.linalg.svdvals(shifted - shifted.mean(0)).square() / (self.n - 1)
        values = torch.linalg.eigvalsh(self.moments.scatter).clamp_min(0).flip(0)
        return values / (self.n - 1)

    @cached_property
    def varying(self) -> Tensor:
        """`eigen`, or CollapseError where every row is the same."""
        if not self.eigen[0] > 0:
            raise CollapseError("all embeddings are identical (collapsed): they have no variance.")
        return self.eigen

    @cached_property
    def unit(self) -> Moments:
        """Second moments of the rows scaled to unit length."""
        return second_moments(self.rows, normalize=True)

    @cached_property
    def unit_std(self) -> Tensor:
        """Standard deviation (d,) of each coordinate of the unit rows, divisor N - 1."""
        if self.n < 2:
            raise ValueError("a standard deviation needs at least 2 rows; Z has 1.")
        if "unit" in self.__dict__:
            variance = self.unit.scatter.diagonal() / (self.n - 1)
        else:
            shift = unit_rows(to_tensor(self.rows[:1], torch.float64))[0]
            total, square = torch.zeros_like(shift), torch.zeros_like(shift)
            for _, block in iter_blocks(self.rows, torch.float64):
                x = unit_rows(block) - shift
                total += x.sum(0)
                square += x.square().sum(0)
            variance = (square - total.square() / self.n) / (self.n - 1)
        return variance.clamp_min(0).sqrt()

    def subsample(self, limit: int) -> Tensor:
        """At most `limit` evenly spaced rows in float64, for criteria of quadratic cost."""
        if self.n <= limit:
            return to_tensor(self.rows, torch.float64)
        index = torch.linspace(0, self.n - 1, limit, dtype=torch.float64).round().long()
        return to_tensor(select_rows(self.rows, index), torch.float64)


def exp_entropy(p: Tensor) -> float:
    """exp of the Shannon entropy (nats); zero entries count as zero."""
    return float(torch.special.entr(p).sum().exp())
