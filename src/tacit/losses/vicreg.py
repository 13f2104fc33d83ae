"""VICReg: invariance, variance and covariance."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from ._common import check_views, full_precision
from .barlow import off_diagonal


class VICRegParts(NamedTuple):
    """The loss and its three unweighted terms."""

    loss: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@full_precision
def vicreg_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    sim_weight: float = 25.0,
    var_weight: float = 25.0,
    cov_weight: float = 1.0,
    eps: float = 1e-4,
    gather: bool = False,
    return_parts: bool = False,
) -> Float[Tensor, ""] | VICRegParts:
    r"""Variance-invariance-covariance regularisation.

    .. math:: 25 \cdot inv + 25 \cdot var + 1 \cdot cov

    inv is the mean over batch and features of :math:`(z_1 - z_2)^2`; var the mean over features of
    :math:`\max(0, 1 - \sqrt{Var_k + \epsilon})`, averaged over the two views; cov the sum over
    off-diagonal entries of the squared covariance over dim, added over the two views. Variance and
    covariance have the N - 1 normaliser.

    Parameters
    ----------
    z1, z2
        Projections of the two views, at least 2 rows.
    sim_weight, var_weight, cov_weight
        Weights of the terms. solo-learn does not halve the variance: ``var_weight=50`` is its
        default.
    eps
        Added to the variance under the root.
    gather
        Take variance and covariance over the embeddings of all processes (differentiable).
    return_parts
        Return ``VICRegParts(loss, invariance, variance, covariance)``.

    References
    ----------
    Bardes, Ponce, LeCun, VICReg: Variance-Invariance-Covariance Regularization, 2022, eq. 1-6.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0], [-1.0]])
    >>> vicreg_loss(z, z)
    tensor(0.)
    >>> vicreg_loss(torch.zeros(4, 3), torch.zeros(4, 3))
    tensor(24.7500)
    """
    check_views(z1, z2)
    invariance = (z1 - z2).pow(2).mean()
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(z1), z1.device)
        z1, z2, invariance = all_gather(z1, rows), all_gather(z2, rows), rows.weight * invariance
    check_views(z1, z2, minimum=2)
    variance = (_variance(z1, eps) + _variance(z2, eps)) / 2
    covariance = _covariance(z1) + _covariance(z2)
    loss = sim_weight * invariance + var_weight * variance + cov_weight * covariance
    return VICRegParts(loss, invariance, variance, covariance) if return_parts else loss


def _variance(z: Tensor, eps: float) -> Tensor:
    return (1 - (z.var(dim=0) + eps).sqrt()).relu().mean()


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (len(z) - 1)
    return off_diagonal(c).pow(2).sum() / z.shape[1]
