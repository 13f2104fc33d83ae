"""Weights of a linear predictor that fits the target network's embeddings, and a random one."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .closed_form import checked_correlation


def _checked_cross(F: Tensor, cross: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    if ridge < 0:
        raise ValueError(f"ridge must not be negative, got {ridge}")
    F = checked_correlation(F)
    if cross.shape != F.shape:
        raise ValueError(f"cross must have the shape of F, {tuple(F.shape)}: {tuple(cross.shape)}")
    if not bool(torch.isfinite(cross).all()):
        raise ValueError("cross holds NaN or infinity; the embeddings diverged")
    return F, cross.to(F)


def _positive(denominator: Tensor) -> Tensor:
    smallest = torch.finfo(denominator.dtype).eps * denominator.max()
    if not bool((denominator > smallest).all()):
        raise ValueError("F is singular, so the fit is not unique; give ridge > 0")
    return denominator


@torch.no_grad()
def solve_weight(
    F: Float[Tensor, "dim dim"],
    cross: Float[Tensor, "dim dim"],
    *,
    ridge: float = 0.0,
    side: Literal["left", "right"] = "left",
) -> Float[Tensor, "dim dim"]:
    r"""Predictor from a linear regression of the targets on the inputs.

    .. math:: W = (F + r I)^{-1} M \;\text{(left, as released)}, \qquad
              W = M (F + r I)^{-1} \;\text{(right)}

    with :math:`F = \text{mean}\, f f^T` and :math:`M = \text{mean}\, k f^T`. The right form
    minimises :math:`\text{mean} \|W f - k\|^2 + r \|W\|^2`; both agree where F and M commute.

    Parameters
    ----------
    F
        Correlation of the predictor's inputs f.
    cross
        Correlation M of the targets k with the inputs.
    ridge
        r, not negative.
    side
        Where the inverse stands.

    Raises
    ------
    ValueError
        On shapes that differ, a non-finite matrix, or a singular F with ``ridge=0``.
    CollapseError
        If F is all zero.

    References
    ----------
    Tian, Chen, Ganguli, Understanding self-supervised Learning Dynamics without Contrastive Pairs,
    2021, released code.

    Examples
    --------
    >>> import torch
    >>> solve_weight(torch.diag(torch.tensor([4.0, 1.0])), torch.eye(2))
    tensor([[0.2500, 0.0000],
            [0.0000, 1.0000]])
    """
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    with torch.autocast(F.device.type, enabled=False):
        F, cross = _checked_cross(F, cross, ridge)
        s, U = torch.linalg.eigh(F)
        inverse = (U / _positive(s.clamp_min(0) + ridge)) @ U.T
        return inverse @ cross if side == "left" else cross @ inverse


@torch.no_grad()
def minimal_space_weight(
    F: Float[Tensor, "dim dim"],
    cross: Float[Tensor, "dim dim"],
    *,
    ridge: float = 0.0,
    time: float | None = None,
    diagonal: bool = False,
    symmetric: bool = True,
    psd: bool = False,
) -> Float[Tensor, "dim dim"]:
    r"""Symmetric predictor that fits the targets best: the solution of :math:`FW + WF = 2M`.

    .. math:: W = U \Big[ \frac{2 (U^T M U)_{ij}}{s_i + s_j + r} \Big] U^T, \qquad
              F = U \, diag(s) \, U^T

    Parameters
    ----------
    F, cross
        As in :func:`solve_weight`.
    ridge
        r, not negative.
    time
        Instead of the solution, M after training for this long:
        :math:`e^{-F t} M e^{-F t}`.
    diagonal
        Keep only the diagonal in the eigenbasis of F (not with ``time``).
    symmetric
        Use :math:`(M + M^T) / 2` for M, as for a symmetric predictor.
    psd
        Set negative eigenvalues of W to zero; needs ``symmetric``.

    Raises
    ------
    ValueError
        As :func:`solve_weight`, or if ``psd`` is asked for without ``symmetric``, or ``diagonal``
        with ``time``.

    References
    ----------
    Tian, Chen, Ganguli, 2021, released code.

    Examples
    --------
    >>> import torch
    >>> F, M = torch.diag(torch.tensor([3.0, 1.0])), torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    >>> minimal_space_weight(F, M)
    tensor([[1.0000, 0.5000],
            [0.5000, 2.0000]])
    """
    if psd and not symmetric:
        raise ValueError("psd=True needs symmetric=True: only then W is symmetric")
    if diagonal and time is not None:
        raise ValueError("diagonal=True belongs to the solution, not to training for a time")
    with torch.autocast(F.device.type, enabled=False):
        F, cross = _checked_cross(F, cross, ridge)
        if symmetric:
            cross = (cross + cross.T) / 2
        s, U = torch.linalg.eigh(F)
        s = s.clamp_min(0)
        inside = U.T @ cross @ U
        if time is not None:
            decay = (-time * s).exp()
            inside = decay[:, None] * inside * decay
        elif diagonal:
            inside = torch.diag(inside.diagonal() / _positive(s + ridge / 2))
        else:
            inside = inside / _positive((s[:, None] + s + ridge) / 2)
        W = U @ inside @ U.T
        if psd:
            values, vectors = torch.linalg.eigh((W + W.T) / 2)
            W = (vectors * values.clamp_min(0)) @ vectors.T
        return W


@torch.no_grad()
def half_rank_weight(
    dim: int,
    *,
    rank: float = 0.5,
    eig: float = 0.5,
    eps: float = 1e-5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "dim dim"]:
    r"""Random projector on a part of the dimensions, :math:`e\, Q Q^T + \epsilon I`.

    Q holds ``int(rank * dim)`` random orthonormal columns. (The released code adds the scalars
    :math:`q^T q` where the projector has :math:`q q^T`.)

    Parameters
    ----------
    dim
        Length of the embeddings.
    rank
        Share of the dimensions that the projector keeps, in [0, 1].
    eig
        Eigenvalue e of the kept dimensions.
    eps
        Eigenvalue of the others; it is added to all.
    generator
        Draws the directions.

    References
    ----------
    Tian, Chen, Ganguli, 2021, released code (``onehalfeig``).

    Examples
    --------
    >>> import torch
    >>> W = half_rank_weight(4, generator=torch.Generator().manual_seed(0))
    >>> torch.linalg.eigvalsh(W).round(decimals=2).abs()
    tensor([0.0000, 0.0000, 0.5000, 0.5000])
    """
    if dim < 1 or not 0 <= rank <= 1:
        raise ValueError(f"dim must be at least 1 and rank in [0, 1], got {dim} and {rank}")
    Q = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0][:, : int(rank * dim)]
    return eig * Q @ Q.T + eps * torch.eye(dim)
