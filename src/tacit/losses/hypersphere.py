"""Alignment and uniformity on the hypersphere."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, check_views, full_precision, unit_rows
from .tiled import pairwise_logsumexp


@full_precision
def align_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    alpha: float = 2.0,
) -> Float[Tensor, ""]:
    r"""Mean distance of positive pairs, :math:`\text{mean}_i \|u_{1i} - u_{2i}\|^\alpha`.

    Parameters
    ----------
    z1, z2
        The two views; normalised inside.
    alpha
        Power of the distance, above 0.

    References
    ----------
    Wang, Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity
    on the Hypersphere, 2020.

    Examples
    --------
    >>> import torch
    >>> align_loss(torch.eye(2), -torch.eye(2))
    tensor(4.)
    """
    check_views(z1, z2)
    check_positive("alpha", alpha)
    distance = torch.linalg.vector_norm(unit_rows(z1, "z1") - unit_rows(z2, "z2"), dim=1)
    return distance.pow(alpha).mean()


@full_precision
def uniform_loss(
    z: Float[Tensor, "batch dim"], *, t: float = 2.0, gather: bool = False
) -> Float[Tensor, ""]:
    r"""Logarithm of the mean Gaussian potential of all pairs.

    .. math:: \log \text{mean}_{i<j} \exp(-t \|u_i - u_j\|^2)

    Between -4t (two opposite points) and 0 (all points equal).

    Parameters
    ----------
    z
        Embeddings of one view, at least 2 rows; normalised inside.
    t
        Inverse width of the potential, above 0.
    gather
        Use the embeddings of all processes (differentiable).

    References
    ----------
    Wang, Isola, 2020.

    Examples
    --------
    >>> import torch
    >>> uniform_loss(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor(-8.)
    """
    check_views(z, names="z")
    check_positive("t", t)
    u = unit_rows(z, "z")
    if gather:
        from tacit.distributed import all_gather

        u = all_gather(u)
    check_views(u, names="z", minimum=2)
    n = len(u)
    # ||u_i - u_j||^2 = 2 - 2 <u_i, u_j>
    rows = pairwise_logsumexp(u, u, 2 * t, self_index=torch.arange(n, device=u.device))
    return torch.logsumexp(rows, 0) - 2 * t - math.log(n * (n - 1))
