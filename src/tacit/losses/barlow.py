"""Barlow Twins and its regulariser on mixed samples."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ._common import check_views, full_precision

Standardize = Literal["batchnorm", "unbiased"]


def off_diagonal(c: Float[Tensor, "dim dim"]) -> Float[Tensor, " off"]:
    """Elements of a square matrix that are not on its diagonal, row by row.

    Examples
    --------
    >>> import torch
    >>> off_diagonal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([2., 3.])
    """
    if c.ndim != 2 or c.shape[0] != c.shape[1]:
        raise ValueError(f"expected a square matrix, got shape {tuple(c.shape)}")
    d = len(c)
    return c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten() if d > 1 else c.new_zeros(0)


def _standardize(z: Tensor, form: str, eps: float | None) -> Tensor:
    if form not in ("batchnorm", "unbiased"):
        raise ValueError(f"standardize must be 'batchnorm' or 'unbiased', got {form!r}")
    biased = form == "batchnorm"
    if eps is None:
        eps = 1e-5 if biased else 0.0
    if eps < 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    if eps == 0:
        constant = (z.detach().var(dim=0) == 0).nonzero()
        if len(constant):
            raise ValueError(
                f"feature {int(constant[0])} has zero variance over the batch (constant), so it "
                "cannot be standardised; give eps > 0, or check the encoder for collapse"
            )
    # Batch norm is fused. The unbiased variance is the biased one over `shrink`; 0 is refused.
    shrink = 1.0 if biased else 1 - 1 / len(z)
    standard = F.batch_norm(z, None, None, training=True, eps=max(eps * shrink, 1e-300))
    return standard * math.sqrt(shrink) if shrink < 1 else standard


@full_precision
def barlow_twins_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    lambd: float = 0.0051,
    eps: float | None = None,
    scale: float = 1.0,
    standardize: Standardize | None = None,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""Make the cross-correlation of two views the identity.

    .. math:: \text{scale} \cdot \Big[ \sum_k (C_{kk} - 1)^2
              + \lambda \sum_{k \ne l} C_{kl}^2 \Big], \qquad C = \hat z_1^T \hat z_2 / N

    with :math:`\hat z` standardised over the batch, feature by feature.

    Parameters
    ----------
    z1, z2
        Projections of the two views, at least 2 rows.
    lambd
        Weight of the off-diagonal part (0.0051 in the paper).
    eps
        Added to the variance. Default: 1e-5 for ``"batchnorm"``, 0 for ``"unbiased"``.
    scale
        Factor of the whole loss (0.025 or 0.1 in solo-learn).
    standardize
        ``"batchnorm"``: biased variance, as BatchNorm in training (the original, lightly and
        solo-learn). ``"unbiased"``: variance over N - 1 (Mixed Barlow Twins); the diagonal of C
        then cannot exceed (N-1)/N, and perfect alignment leaves dim/N^2. Default: the published
        form that has this ``eps``, ``"unbiased"`` for 0 and else ``"batchnorm"``.
    gather
        Use the embeddings of all processes, in the statistics too (differentiable).

    Raises
    ------
    ValueError
        With fewer than 2 rows, or for a constant feature with ``eps=0``.

    References
    ----------
    Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, 2021, eq. 1-2.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0], [-1.0]])
    >>> barlow_twins_loss(z, z, standardize="unbiased")
    tensor(0.2500)
    """
    check_views(z1, z2)
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(z1), z1.device)
        z1, z2 = all_gather(z1, rows), all_gather(z2, rows)
    check_views(z1, z2, minimum=2)
    if standardize is None:
        standardize = "unbiased" if eps == 0 else "batchnorm"
    a, b = _standardize(z1, standardize, eps), _standardize(z2, standardize, eps)
    c = a.T @ b / len(a)
    diagonal = c.diagonal()
    return scale * ((diagonal - 1).pow(2).sum() + lambd * off_diagonal(c).pow(2).sum())


@full_precision
def mixed_barlow_reg(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    zm: Float[Tensor, "batch dim"],
    perm: Int[Tensor, " batch"],
    lam: float,
    *,
    variant: Literal["paper", "imagenet_released"] = "paper",
    reduction: Literal["sum", "mean"] = "sum",
    eps: float = 0.0,
) -> Float[Tensor, ""]:
    r"""Ask that the embedding of a mixed sample correlates as the mixture of embeddings would.

    .. math:: \|C^{MA} - G^{MA}\|_F^2 + \|C^{MB} - G^{MB}\|_F^2

    with :math:`C^{Mv} = \hat z_m^T \hat z_v / N` and
    :math:`G^{Mv} = [\lambda \hat z_1 + (1-\lambda) \hat z_2[\pi]]^T \hat z_v / N`; standardised
    with the unbiased variance. Gradient flows through the targets G too.

    Parameters
    ----------
    z1, z2
        Projections of the two views.
    zm
        Projections of the mixed samples ``lam * x1 + (1 - lam) * x2[perm]``.
    perm, lam
        The permutation and the weight of the mixture (``mixup_views``).
    variant
        ``"paper"``; ``"imagenet_released"`` has z2 in the place of z1 in the second target, which
        is then not zero for ``lam=1``.
    reduction
        ``"sum"`` over the dim x dim entries, or their ``"mean"``.
    eps
        Added to the variance.

    References
    ----------
    Bandara, De Melo, Patel, Guarding Barlow Twins Against Overfitting with Mixed Samples, 2023.

    Examples
    --------
    >>> import torch
    >>> z = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    >>> mixed_barlow_reg(z, z + 1, z, torch.arange(8), 1.0)
    tensor(0.)
    """
    check_views(z1, z2, zm, names="z1, z2, zm", minimum=2)
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must be in [0, 1], got {lam}")
    if perm.shape != (len(z1),):
        raise ValueError(f"perm must have shape ({len(z1)},), got {tuple(perm.shape)}")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    if variant not in ("paper", "imagenet_released"):
        raise ValueError(f"variant must be 'paper' or 'imagenet_released', got {variant!r}")
    a, b, m = (_standardize(z, "unbiased", eps) for z in (z1, z2, zm))
    # C - G is linear in the mixture: one difference times each view.
    shuffled = (1 - lam) * b[perm]
    residual_a = m - lam * a - shuffled
    residual_b = residual_a if variant == "paper" else m - lam * b - shuffled
    total = _squared_product(residual_a, a) + _squared_product(residual_b, b)
    total = total / len(a) ** 2
    return total if reduction == "sum" else total / a.shape[1] ** 2


def _squared_product(a: Tensor, b: Tensor) -> Tensor:
    """``||a^T b||_F^2``, by the batch x batch Gram matrices where those are smaller."""
    if len(a) < a.shape[1]:
        return ((a @ a.T) * (b @ b.T)).sum()
    return (a.T @ b).pow(2).sum()
