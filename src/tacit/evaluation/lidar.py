"""LiDAR: the effective rank of the between-sample scatter, measured in units of the noise."""

from __future__ import annotations

import warnings

import torch

from .inputs import Groups, check_finite, check_matrix, iter_blocks, to_tensor
from .spectrum import Accumulator, exp_entropy


def lidar(Z: Groups, *, delta: float = 1e-4, eps: float = 1e-8) -> float:
    """LiDAR: exp(entropy) of the eigenvalues of ``S_w^{-1/2} S_b S_w^{-1/2}``.

    ``S_b = sum_i (mu_i - mu)(mu_i - mu)^T / (n - 1)`` is the scatter of the n samples' means and
    ``S_w = sum_ij (z_ij - mu_i)(z_ij - mu_i)^T / (n (q - 1)) + delta I`` that of their q
    augmentations; p = (l + eps) / sum(l + eps).

    Parameters
    ----------
    Z : (n, q, d) embeddings of q >= 2 augmentations of each of n >= 2 samples; n > d and q of 10
        or more are recommended.
    delta : ridge on the within-sample scatter; 0 makes LiDAR invariant to invertible linear maps.
    eps : added to the eigenvalues.

    Returns
    -------
    float between 1 and about min(d, n - 1); higher is better.

    References
    ----------
    Thilak et al., LiDAR, 2023 (arXiv 2312.04000).

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> means = torch.randn(400, 1, 4, generator=g)
    >>> noise = torch.randn(400, 5, 4, generator=g)
    >>> 3.9 < lidar(means + 0.1 * noise) <= 4.001
    True
    """
    check_matrix(Z, "Z", ndim=3, rows=2)
    n, q, d = Z.shape
    if q < 2:
        raise ValueError(
            "LiDAR needs at least 2 augmentations of each sample (axis 1 of Z), but there is 1."
        )
    check_finite(Z, "Z")
    if n <= d:
        warnings.warn(
            f"{n} samples of width {d}: LiDAR can't exceed {n - 1}; use more than {d} samples.",
            stacklevel=2,
        )
    means = Accumulator(to_tensor(Z[:1], torch.float64).mean(1)[0])
    within = torch.zeros_like(means.product)
    for _, block in iter_blocks(Z, torch.float64):
        centre = block.mean(1)
        means.add(centre)
        noise = (block - centre[:, None]).flatten(0, 1)
        within.addmm_(noise.T, noise)
    between = means.moments().scatter / (n - 1)
    within = within / (n * (q - 1))
    within.diagonal().add_(delta)
    # L^-1 S_b L^-T has the eigenvalues of S_w^-1/2 S_b S_w^-1/2, and needs no inverse square root.
    factor, failed = torch.linalg.cholesky_ex(within)
    if int(failed):
        raise ValueError(
            "the within-sample scatter is singular: pass delta > 0, or more samples or "
            "augmentations."
        )
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
    values = torch.linalg.eigvalsh((whitened + whitened.T) / 2).clamp_min(0) + eps
    return exp_entropy(values / values.sum())
