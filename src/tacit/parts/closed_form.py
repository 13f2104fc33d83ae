"""Weights of a linear predictor from the correlation of its inputs: DirectPred, DirectCopy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tacit.errors import CollapseError


def checked_correlation(F: Tensor) -> Tensor:
    """F in float32 or better and exactly symmetric.

    Raises
    ------
    ValueError
        If F is not square or not finite.
    CollapseError
        If F is all zero.
    """
    if F.ndim != 2 or F.shape[0] != F.shape[1]:
        raise ValueError(f"F must be a square matrix, got shape {tuple(F.shape)}")
    F = F.float() if F.dtype in (torch.float16, torch.bfloat16) else F
    if not bool(torch.isfinite(F).all()):
        raise ValueError("F holds NaN or infinity; the embeddings diverged")
    if not bool((F != 0).any()):
        raise CollapseError(
            "the correlation matrix is all zero: the representation collapsed to zero; "
            "check the encoder's output and lower the learning rate or the weight decay"
        )
    return (F + F.T) / 2


@torch.no_grad()
def directpred_weight(
    F: Float[Tensor, "dim dim"],
    *,
    eps: float = 0.01,
    root: float = 2.0,
    eps_inside: bool = False,
    shrink: float = 0.0,
    min_eig: float = 1e-4,
) -> Float[Tensor, "dim dim"]:
    r"""Predictor from the eigen-decomposition of the correlation of its inputs (DirectPred).

    .. math:: W = U \, diag(p) \, U^T, \qquad
              p_j = (1 - shrink) \max\big((s_j / s_{max})^{1/root} + \epsilon,\; p_{min}\big)

    for :math:`F = U diag(s) U^T`. The paper's form :math:`\sqrt{s_j} + \epsilon' s_{max}` is the
    same up to a factor, which the cosine loss ignores, with
    :math:`\epsilon = \epsilon' \sqrt{s_{max}}`. ``root=1`` is DirectCopy divided by the spectral
    norm; ``1/root`` is alpha of DirectSet.

    Parameters
    ----------
    F
        Symmetric positive semi-definite correlation matrix.
    eps
        Floor of the eigenvalues, not negative.
    root
        Order of the root, above 0.
    eps_inside
        Add ``eps`` (and apply ``min_eig``) before the root.
    shrink
        Final factor ``1 - shrink``.
    min_eig
        Smallest eigenvalue before shrinking.

    Raises
    ------
    CollapseError
        If F is all zero.

    References
    ----------
    Tian, Chen, Ganguli, 2021, eq. 18-19; Wang, Chen, Du, Tian, 2021.

    Examples
    --------
    >>> import torch
    >>> directpred_weight(torch.diag(torch.tensor([4.0, 1.0]))).diagonal()
    tensor([1.0100, 0.5100])
    """
    if eps < 0 or not 0 <= shrink < 1 or root <= 0 or min_eig < 0:
        raise ValueError(
            "eps and min_eig must not be negative, root above 0, shrink in [0, 1); got "
            f"eps={eps}, min_eig={min_eig}, root={root}, shrink={shrink}"
        )
    with torch.autocast(F.device.type, enabled=False):
        s, U = torch.linalg.eigh(checked_correlation(F))
        s = s.clamp_min(0)
        if not bool(s[-1] > 0):
            raise ValueError("F has no positive eigenvalue, so it is not a correlation matrix")
        # Eigenvalues that are zero up to rounding must not be lifted by the root.
        s = s / s[-1]
        s = torch.where(s < len(s) * torch.finfo(s.dtype).eps, 0, s)
        if eps_inside:
            p = (s + eps).clamp_min(min_eig).pow(1 / root)
        else:
            p = (s.pow(1 / root) + eps).clamp_min(min_eig)
        W = (U * ((1 - shrink) * p)) @ U.T
        return (W + W.T) / 2


@torch.no_grad()
def directcopy_weight(
    F: Float[Tensor, "dim dim"], *, eps: float = 0.3, normalize: bool = False
) -> Float[Tensor, "dim dim"]:
    r"""Predictor that is the correlation matrix itself, :math:`F + \epsilon I` (DirectCopy).

    Parameters
    ----------
    normalize
        Divide F by its spectral norm first.

    References
    ----------
    Wang, Chen, Du, Tian, Towards Demystifying Representation Learning with Non-contrastive
    Self-supervision, 2021.

    Examples
    --------
    >>> import torch
    >>> directcopy_weight(torch.diag(torch.tensor([4.0, 1.0]))).diagonal()
    tensor([4.3000, 1.3000])
    """
    if eps < 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    with torch.autocast(F.device.type, enabled=False):
        F = checked_correlation(F)
        if normalize:
            F = F / torch.linalg.matrix_norm(F, ord=2)
        return F + eps * torch.eye(len(F), dtype=F.dtype, device=F.device)


@torch.no_grad()
def eigenspace_alignment(
    W_p: Float[Tensor, "dim dim"], F: Float[Tensor, "dim dim"]
) -> Float[Tensor, " dim"]:
    r"""How much each eigenvector of F is one of the predictor too.

    .. math:: |v^T W v| / \|W v\|

    for the eigenvectors v of F, from the largest eigenvalue down; 1 means an eigenvector of W. A v
    that W sends to zero is one as well.

    Examples
    --------
    >>> import torch
    >>> eigenspace_alignment(torch.diag(torch.tensor([1.0, 5.0])), torch.diag(torch.ones(2)))
    tensor([1., 1.])
    """
    if W_p.shape != F.shape:
        raise ValueError(f"shapes differ: {tuple(W_p.shape)} and {tuple(F.shape)}")
    V = torch.linalg.eigh(checked_correlation(F))[1].flip(1)
    image = W_p.to(V) @ V
    norm = torch.linalg.vector_norm(image, dim=0)
    cosine = (V * image).sum(0).abs() / norm
    return torch.where(norm > 0, cosine, torch.ones_like(cosine))
