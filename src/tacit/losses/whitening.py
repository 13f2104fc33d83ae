"""W-MSE: whiten the embeddings, then compare the views."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_views, full_precision, unit_rows


@full_precision
def whiten(
    x: Float[Tensor, "*groups batch dim"],
    *,
    method: Literal["cholesky"] = "cholesky",
    eps: float = 0.0,
) -> Float[Tensor, "*groups batch dim"]:
    r"""Give every group of rows zero mean and identity covariance.

    .. math:: v = L^{-1} (x - \mu), \qquad L L^T = (1 - \epsilon) Cov(x) + \epsilon I

    with the unbiased covariance.

    Parameters
    ----------
    x
        Rows to whiten together; leading axes are independent groups.
    method
        ``"cholesky"``.
    eps
        Shrinkage of the covariance towards the identity, in [0, 1].

    Raises
    ------
    ValueError
        If the covariance is singular: too few rows (more than ``dim`` are needed) or collapse.

    References
    ----------
    Ermolov et al., Whitening for Self-Supervised Representation Learning, 2021, eq. 4.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(whiten(x).T.cov(), torch.eye(3), atol=1e-5)
    True
    """
    if method != "cholesky":
        raise ValueError(f"method must be 'cholesky', got {method!r}")
    if not 0 <= eps <= 1:
        raise ValueError(f"eps must be in [0, 1], got {eps}")
    if x.ndim < 2 or x.shape[-2] < 2:
        raise ValueError(f"whitening needs at least 2 rows, got shape {tuple(x.shape)}")
    n, d = x.shape[-2:]
    centred = x - x.mean(dim=-2, keepdim=True)
    covariance = centred.mT @ centred / (n - 1)
    covariance = (1 - eps) * covariance + eps * torch.eye(d, dtype=x.dtype, device=x.device)
    factor, info = torch.linalg.cholesky_ex(covariance)
    # With n <= d the rank is too small, though rounding may hide it from the factorisation.
    singular = eps == 0 and n <= d
    if singular or bool((info != 0).any()) or not bool(torch.isfinite(factor).all()):
        raise ValueError(
            f"the covariance of {n} rows in {d} dimensions is singular; whiten at least "
            f"{2 * d} rows together (w_size >= 2 dim), or give eps > 0 (1e-4)"
        )
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT


@full_precision
def wmse_loss(
    *views: Float[Tensor, "batch dim"],
    w_size: int | None = None,
    w_iter: int = 1,
    eps: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    r"""Distance of unit whitened embeddings, over all pairs of views.

    .. math:: \text{mean} \, [2 - 2 \cos(v_1, v_2)]

    Each view is whitened in sub-batches of ``w_size`` rows, the same partition for all views.
    Gradient flows through both views.

    Parameters
    ----------
    views
        Two or more views, each (batch, dim).
    w_size
        Rows whitened together; at least 2 dim is advised. Default: the whole batch. Rows left over
        are not used.
    w_iter
        Repeats with a fresh random partition, averaged.
    eps
        Shrinkage of the covariance (see :func:`whiten`).
    generator
        Draws the partitions. Without it, rows are taken in their order.

    References
    ----------
    Ermolov et al., 2021, eq. 5 and algorithm 1.

    Examples
    --------
    >>> import torch
    >>> z = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(wmse_loss(z, 3 * z + 1).abs() < 1e-5)
    True
    """
    if len(views) < 2:
        raise ValueError(f"at least two views are needed, got {len(views)}")
    check_views(*views, names="views", minimum=2)
    n = len(views[0])
    w_size = n if w_size is None else w_size
    if not 2 <= w_size <= n:
        raise ValueError(f"w_size must be between 2 and the batch size {n}, got {w_size}")
    if w_iter < 1 or (w_iter > 1 and generator is None):
        raise ValueError("w_iter must be at least 1, and above 1 it needs a generator")
    groups = n // w_size
    terms = []
    for _ in range(w_iter):
        device = views[0].device
        if generator is None:
            order = torch.arange(n, device=device)
        else:
            order = torch.randperm(n, generator=generator, device=generator.device).to(device)
        parts = order[: groups * w_size].view(groups, w_size)
        units = [unit_rows(whiten(view[parts], eps=eps), "whitened views") for view in views]
        terms += [2 - 2 * (a * b).sum(-1).mean() for a, b in combinations(units, 2)]
    return torch.stack(terms).mean()
