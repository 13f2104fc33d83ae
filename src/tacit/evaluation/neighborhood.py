"""Criteria of the local geometry: TwoNN intrinsic dimension, cluster learnability and CLID."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tacit.errors import CollapseError

from .inputs import Rows, check_finite, check_matrix, to_tensor

_PAIRS = 2**22  # distances held at once


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    out = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * (a @ b.T)
    return out.clamp_min(0)


def _centred(Z: Tensor) -> Tensor:
    # Distances from inner products cancel where the mean is large; the mean does not matter.
    return Z - Z.mean(0)


def two_nn_dimension(Z: Rows) -> float:
    """Intrinsic dimension by the two nearest neighbours: ``N / sum_i ln(r2_i / r1_i)``.

    r1 and r2 are the distances to the first and second neighbour; rows with an exact duplicate
    (r1 = 0) are left out. Cost grows with N^2; a few thousand rows are enough.

    References
    ----------
    Facco et al., Scientific Reports 7, 2017.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> plane = torch.rand(2000, 2, generator=g) @ torch.randn(2, 10, generator=g)
    >>> 1.8 < two_nn_dimension(plane) < 2.2
    True
    """
    check_matrix(Z, "Z", rows=3)
    check_finite(Z, "Z")
    x = _centred(to_tensor(Z, torch.float64))
    n = len(x)
    nearest = []
    for block, own in _row_blocks(x):
        distance = _squared_distances(block, x)
        distance[torch.arange(len(block), device=x.device), own] = torch.inf
        nearest.append(distance.topk(2, dim=1, largest=False).values)
    r = torch.cat(nearest)
    # Inner products leave rounding noise instead of an exact zero between duplicates.
    noise = 1e-14 * x.square().sum(1).max()
    r = r[r[:, 0] > noise]
    if len(r) == 0:
        raise CollapseError(f"all {n} embeddings have an exact duplicate: no dimension is defined.")
    ratios = (0.5 * (r[:, 1] / r[:, 0]).log()).sum()
    return float(len(r) / ratios) if ratios > 0 else float("inf")


def _row_blocks(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    step = max(1, _PAIRS // len(x))
    index = torch.arange(len(x), device=x.device)
    return list(zip(x.split(step), index.split(step)))


def kmeans_labels(
    x: Tensor, n_clusters: int, generator: torch.Generator, n_iter: int = 30
) -> Tensor:
    """Lloyd's k-means from random distinct rows; an emptied cluster keeps its centre."""
    start = torch.randperm(len(x), generator=generator)[:n_clusters].to(x.device)
    centres = x[start].clone()
    labels = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
    for _ in range(n_iter):
        new = torch.cat(
            [_squared_distances(rows, centres).argmin(1) for rows in x.split(_PAIRS // n_clusters)]
        )
        if torch.equal(new, labels):
            break
        labels = new
        counts = torch.bincount(labels, minlength=n_clusters).to(x.dtype)
        sums = torch.zeros_like(centres).index_add_(0, labels, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
    return labels


def cluster_learnability(
    Z: Rows, n_clusters: int, k: int = 1, *, generator: torch.Generator | None = None
) -> float:
    """Cluster learnability: online k-NN accuracy on k-means pseudo-labels, in [0, 1].

    Rows arrive in random order; each is classified by a vote of its k nearest among those before
    it, and then joins them. Cost grows with N^2.

    Parameters
    ----------
    Z : (N, d) embeddings.
    n_clusters : number of k-means clusters, 2 <= n_clusters <= N.
    k : neighbours that vote (fewer at the start); ties go to the lowest cluster.
    generator : of the k-means start and the order; None is a fresh one with seed 0.

    References
    ----------
    Lu et al., Using representation expressiveness and learnability ..., 2022.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> blobs = torch.eye(3).repeat(40, 1) + 0.01 * torch.randn(120, 3, generator=g)
    >>> cluster_learnability(blobs, n_clusters=3) > 0.9
    True
    """
    check_matrix(Z, "Z", rows=2)
    check_finite(Z, "Z")
    n = Z.shape[0]
    if not 2 <= n_clusters <= n:
        raise ValueError(f"n_clusters must be between 2 and the {n} rows, not {n_clusters}.")
    if not 1 <= k < n:
        raise ValueError(f"k must be between 1 and {n - 1}, not {k}.")
    generator = generator or torch.Generator().manual_seed(0)
    x = _centred(to_tensor(Z, torch.float64))
    labels = kmeans_labels(x, n_clusters, generator)
    order = torch.randperm(n, generator=generator).to(x.device)
    x, labels = x[order], labels[order]
    correct = 0
    for block, own in _row_blocks(x):
        distance = _squared_distances(block, x)
        distance[torch.arange(n, device=x.device) >= own[:, None]] = torch.inf
        near = distance.topk(k, dim=1, largest=False)
        votes = torch.zeros(len(block), n_clusters, device=x.device)
        votes.scatter_add_(1, labels[near.indices], near.values.isfinite().float())
        correct += int(((votes.argmax(1) == labels[own]) & (own > 0)).sum())
    return correct / (n - 1)


def clid(
    Zs: Sequence[Tensor | np.ndarray],  # (n, d) each; d may differ between runs
    *,
    n_clusters: int = 10,
    k: int = 1,
    seed: int = 0,
) -> list[float]:
    """CLID of each of several runs: cluster learnability plus TwoNN intrinsic dimension.

    Both are standardised over the runs (mean 0, standard deviation 1; a criterion that is the
    same in all runs counts 0) and added, so that the score only ranks the runs given together.
    Every run is measured with generators of the same `seed`.

    References
    ----------
    Lu et al., Using representation expressiveness and learnability ..., 2022.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> runs = [torch.randn(100, d, generator=g) for d in (2, 4)]
    >>> len(clid(runs))
    2
    """
    if len(Zs) < 2:
        raise ValueError("CLID standardises over the compared runs: give at least 2 of them.")
    pairs = torch.tensor(
        [
            [
                cluster_learnability(
                    Z, n_clusters, k, generator=torch.Generator().manual_seed(seed)
                ),
                two_nn_dimension(Z),
            ]
            for Z in Zs
        ],
        dtype=torch.float64,
    )
    centred = pairs - pairs.mean(0)
    spread = pairs.std(0, correction=0)
    scores = torch.where(spread > 0, centred / spread.clamp_min(1e-300), 0.0).sum(1)
    return [float(s) for s in scores]
