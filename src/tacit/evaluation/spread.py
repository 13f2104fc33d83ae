"""How evenly rows spread over directions: coherence, SelfCluster, feature standard deviation."""

from __future__ import annotations

import math

import torch

from .inputs import Rows, iter_blocks
from .spectrum import Spectrum


def coherence(Z: Rows) -> float:
    """Coherence ``(N / K) max_i ||U_i||^2`` of the left singular vectors U (N, K).

    In [1, N / K]; lower means that no single row dominates a direction. K is the numerical rank:
    the left vectors of a zero singular value are arbitrary and are left out.

    References
    ----------
    Tsitsulin et al., 2023 (arXiv 2305.16562).

    >>> import torch
    >>> round(coherence(torch.eye(4)), 6)
    1.0
    """
    return coherence_of(Spectrum(Z))


def coherence_of(spectrum: Spectrum) -> float:
    spectrum.singular  # noqa: B018 - raises on all-zero embeddings
    if spectrum.dense is not None:
        left, singular, _ = torch.linalg.svd(spectrum.dense, full_matrices=False)
        rank = int((singular > singular[0] * spectrum.n * torch.finfo(torch.float64).eps).sum())
        largest = float(left[:, :rank].square().sum(1).max())
    else:
        values, vectors = torch.linalg.eigh(spectrum.moments.gram)
        keep = values > values[-1] * spectrum.d * torch.finfo(torch.float64).eps
        rank = int(keep.sum())
        whiten = vectors[:, keep] / values[keep].sqrt()
        largest = max(
            float((block @ whiten).square().sum(1).max())
            for _, block in iter_blocks(spectrum.rows, torch.float64)
        )
    return spectrum.n / rank * largest


def self_cluster(Z: Rows) -> float:
    """SelfCluster: excess of squared cosines over the uniform distribution on the sphere.

    ``(Q - e) / (N^2 - e)`` with ``Q = sum_ij <z_i, z_j>^2`` on unit rows and
    ``e = N + N (N - 1) / d``: 0 in expectation for uniform rows, 1 when all rows lie on one line.

    References
    ----------
    Tsitsulin et al., 2023 (arXiv 2305.16562).

    >>> import torch
    >>> round(self_cluster(torch.ones(5, 3)), 6)
    1.0
    """
    return self_cluster_of(Spectrum(Z))


def self_cluster_of(spectrum: Spectrum) -> float:
    n, d = spectrum.n, spectrum.d
    if n < 2 or d < 2:
        raise ValueError(f"SelfCluster needs at least 2 rows and 2 columns, not {(n, d)}.")
    # sum_ij <z_i, z_j>^2 = ||Z Z^T||_F^2 = ||Z^T Z||_F^2
    overlap = float(spectrum.unit.gram.square().sum())
    expected = n + n * (n - 1) / d
    return (overlap - expected) / (n * n - expected)


def feature_std(Z: Rows) -> float:
    """Mean over coordinates of the standard deviation of the unit rows: 0 for complete collapse.

    Rows spread uniformly over the sphere give ``1 / sqrt(d)``.

    References
    ----------
    Chen & He, SimSiam, CVPR 2021, section 4.1.

    >>> import torch
    >>> feature_std(torch.ones(4, 3))
    0.0
    """
    return float(Spectrum(Z).unit_std.mean())


def feature_std_ratio(Z: Rows) -> float:
    """`feature_std` divided by its value ``1 / sqrt(d)`` for rows uniform on the sphere.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> 0.95 < feature_std_ratio(torch.randn(1000, 16, generator=g)) < 1.01
    True
    """
    return feature_std(Z) * math.sqrt(Z.shape[1])
