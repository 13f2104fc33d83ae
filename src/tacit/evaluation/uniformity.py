"""How well pairs are aligned, and how evenly embeddings cover the sphere."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Pairs whose distances are held at once, and pairs beyond which similarities are sampled.
_TILE_ELEMENTS = 2**22
_MAX_PAIRS = 2**24


def _check_rows(z: Tensor, name: str) -> None:
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(
            f"{name}: expected at least 2 rows (samples, dim), got shape {tuple(z.shape)}"
        )


def alignment(
    x: Float[Tensor, "batch dim"], y: Float[Tensor, "batch dim"], alpha: float = 2
) -> Float[Tensor, ""]:
    r"""Mean distance of positive pairs, ``mean_i ||x_i - y_i||^alpha``; lower is closer.

    Parameters
    ----------
    x, y
        Embeddings of the two views, row by row, usually unit vectors; used as they are.
    alpha
        Power of the distance, above zero.

    Returns
    -------
    Tensor
        Scalar, differentiable.

    References
    ----------
    Wang and Isola, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere, ICML 2020.

    Examples
    --------
    >>> import torch
    >>> alignment(torch.eye(2), torch.eye(2).flip(0))
    tensor(2.)
    """
    if x.shape != y.shape or x.ndim != 2 or len(x) == 0:
        raise ValueError(
            f"x and y must be matrices of one shape (batch, dim), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    if alpha == 2:
        return (x - y).square().sum(1).mean()
    return torch.linalg.vector_norm(x - y, dim=1).pow(alpha).mean()


def uniformity(x: Float[Tensor, "batch dim"], t: float = 2) -> Float[Tensor, ""]:
    r"""Log of the mean Gaussian potential over pairs; lower is more uniform.

    .. math:: \log \mathrm{mean}_{i<j} \exp(-t \lVert x_i - x_j \rVert^2)

    Parameters
    ----------
    x
        Embeddings, usually unit vectors; used as they are.
    t
        Inverse width, above zero.

    Returns
    -------
    Tensor
        Scalar, differentiable, at most 0.

    References
    ----------
    Wang and Isola, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere, ICML 2020.

    Examples
    --------
    >>> import torch
    >>> uniformity(torch.eye(2), t=2)
    tensor(-4.)
    """
    _check_rows(x, "x")
    if not t > 0:
        raise ValueError(f"t must be above 0, got {t}")
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    count = len(x)
    squares = x.square().sum(1)
    step = max(_TILE_ELEMENTS // count, 1)
    parts = []
    for start in range(0, count, step):
        rows = x[start : start + step]
        squared = squares[start : start + step, None] + squares - 2 * rows @ x.T
        own = torch.arange(start, start + len(rows), device=x.device)[:, None]
        logits = -t * squared.clamp_min(0)
        logits = logits.masked_fill(own == torch.arange(count, device=x.device), -math.inf)
        parts.append(torch.logsumexp(logits.flatten(), dim=0))
    return torch.logsumexp(torch.stack(parts), dim=0) - math.log(count * (count - 1))


def _pair_similarities(z: Tensor, generator: torch.Generator) -> Tensor:
    """Cosine of every pair i < j, or of as many random pairs as `_MAX_PAIRS`."""
    count = len(z)
    if count * (count - 1) // 2 <= _MAX_PAIRS:
        i, j = torch.triu_indices(count, count, offset=1)
        return (z @ z.T)[i, j]
    i = torch.randint(count, (_MAX_PAIRS,), generator=generator)
    j = (i + torch.randint(1, count, (_MAX_PAIRS,), generator=generator)) % count
    steps = zip(i.split(2**18), j.split(2**18))
    return torch.cat([(z[a] * z[b]).sum(1) for a, b in steps])


def _uniform_similarities(dim: int, count: int, generator: torch.Generator) -> Tensor:
    """First coordinates of uniform unit vectors, with density ~ (1 - x^2)^((dim - 3) / 2)."""
    step = max(_TILE_ELEMENTS // dim, 1)
    parts = []
    for start in range(0, count, step):
        g = torch.randn(min(step, count - start), dim, generator=generator, dtype=torch.float64)
        parts.append(g[:, 0] / torch.linalg.vector_norm(g, dim=1))
    return torch.cat(parts)


def _wasserstein_1d(a: Tensor, b: Tensor) -> float:
    """1-Wasserstein distance of two samples: the area between their distribution functions."""
    a, b = a.sort().values, b.sort().values
    points = torch.cat([a, b]).sort().values
    left = points[:-1].contiguous()
    cdf_a = torch.searchsorted(a, left, right=True) / a.new_tensor(len(a))
    cdf_b = torch.searchsorted(b, left, right=True) / b.new_tensor(len(b))
    return float(((cdf_a - cdf_b).abs() * points.diff()).sum())


@torch.no_grad()
def wasserstein_uniformity(
    z: Float[Tensor, "batch dim"],
    n_samples: int = 10000,
    generator: torch.Generator | None = None,
) -> float:
    """Distance of the pairwise cosines from those of uniform vectors on the sphere; 0 is uniform.

    The 1-Wasserstein distance between the cosines of all pairs (a random 16.8 million of them
    where there are more) and samples of their exact law for independent uniform vectors in the
    same dimension D, whose density is proportional to ``(1 - x^2)^((D - 3) / 2)``.

    Parameters
    ----------
    z
        Embeddings, of any scale; normalised here.
    n_samples
        Number of samples of the uniform law.
    generator
        CPU generator of those samples; a fixed seed where it is not given.

    Returns
    -------
    float
        In [0, 2].

    Raises
    ------
    ValueError
        On fewer than two rows, NaN, or zero rows.

    References
    ----------
    Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML
    2024.

    Examples
    --------
    >>> import torch
    >>> z = torch.randn(500, 16, generator=torch.Generator().manual_seed(1))
    >>> wasserstein_uniformity(z) < 0.01
    True
    >>> round(wasserstein_uniformity(torch.ones(10, 16)), 1)
    1.0
    """
    _check_rows(z, "z")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    rows = z.detach().to(device="cpu", dtype=torch.float64)
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not bool((torch.isfinite(norm) & (norm > 0)).all()):
        raise ValueError("z: rows that are zero, NaN or infinite have no direction; remove them")
    reference = _uniform_similarities(z.shape[1], n_samples, generator)
    return _wasserstein_1d(_pair_similarities(rows / norm, generator), reference)
