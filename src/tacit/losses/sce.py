"""Scaled cosine error: reconstruction of features by their direction."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tacit.encoders.gnn.sparse import SparseRows

from ._common import full_precision, reduce

ZERO_SHARE = 0.1  # of all-zero targets, from which a warning is given


@full_precision
def scaled_cosine_error(
    recon: Float[Tensor, "nodes features"],
    target: Float[Tensor, "nodes features"],
    alpha: float = 3.0,
    reduction: str = "mean",
) -> Float[Tensor, "*nodes"]:
    r"""Scaled cosine error between reconstructed and original features.

    .. math:: L = \frac1M \sum_i \Big(1 - \frac{\langle z_i, x_i\rangle}
        {\max(|z_i|, 10^{-12}) \max(|x_i|, 10^{-12})}\Big)^{\alpha}

    In [0, 2^alpha]; blind to the lengths of both rows; alpha > 1 weighs down rows that are nearly
    right. A zero row has cosine 0 with everything, so error 1 and, as a target, no gradient.

    Parameters
    ----------
    recon, target
        Reconstruction z and original x, row i of both the same masked node.
    alpha
        Exponent, at least 1; the paper calls it gamma.
    reduction
        "mean", "sum" or "none".

    Raises
    ------
    ValueError
        Shapes that differ, no rows, alpha below 1.

    References
    ----------
    Hou et al., GraphMAE: Self-Supervised Masked Graph Autoencoders, 2022, eq. 2.

    Examples
    --------
    >>> import torch
    >>> scaled_cosine_error(torch.eye(2), 5 * torch.eye(2))
    tensor(0.)
    >>> scaled_cosine_error(torch.eye(2), -torch.eye(2), alpha=2.0)
    tensor(4.)
    """
    if recon.shape != target.shape or not recon.shape[0]:
        raise ValueError(
            f"recon and target must be equal, non-empty matrices (nodes, features), got "
            f"{tuple(recon.shape)} and {tuple(target.shape)}"
        )
    if not alpha >= 1:
        raise ValueError(f"alpha must be at least 1, got {alpha}")
    norm = torch.linalg.vector_norm(target, dim=1, keepdim=True)
    _warn_zeros(norm)
    cosine = (F.normalize(recon, dim=1) * (target / norm.clamp_min(1e-12))).sum(1)
    return _scaled(cosine, alpha, reduction)


@full_precision
def linear_scaled_cosine_error(
    code: Float[Tensor, "nodes dim"],
    weight: Float[Tensor, "features dim"],
    bias: Float[Tensor, " features"] | None,
    target: SparseRows,
    alpha: float = 3.0,
    reduction: str = "mean",
) -> Float[Tensor, "*nodes"]:
    r"""`scaled_cosine_error` of z = W c + b and sparse targets, without z.

    |z|^2 = c^T (W^T W) c + 2 c^T W^T b + |b|^2 and <z, x> = c^T (W^T x) + b^T x need nothing of
    size (nodes, features): half the time of the loss on bags of words.

    Parameters
    ----------
    code, weight, bias
        c of every node, and the last linear map W (features, dim) and b.
    target
        Original features, row i for code i.
    alpha, reduction
        As in `scaled_cosine_error`.

    Examples
    --------
    >>> import torch
    >>> x = torch.eye(3)
    >>> rows = SparseRows.from_csr(x.to_sparse_csr())
    >>> code, weight = torch.tensor([[1.0], [2.0], [-1.0]]), torch.ones(3, 1)
    >>> fast = linear_scaled_cosine_error(code, weight, None, rows)
    >>> bool(torch.isclose(fast, scaled_cosine_error(code @ weight.T, x)))
    True
    """
    if not alpha >= 1:
        raise ValueError(f"alpha must be at least 1, got {alpha}")
    row, column = target.pattern.target, target.pattern.source
    square = torch.zeros(target.shape[0], dtype=target.values.dtype, device=code.device)
    norm = square.index_add(0, row, target.values.square()).sqrt()
    _warn_zeros(norm)
    dot = (code * target.linear(weight.T)).sum(1)
    half = weight.detach().T @ weight
    gram = 2 * half - half.detach()  # W^T W; its gradient is symmetric: one product is enough
    length = ((code @ gram) * code).sum(1)
    if bias is not None:
        dot = dot + torch.zeros_like(dot).index_add(0, row, target.values * bias[column])
        length = length + 2 * (code @ (weight.T @ bias)) + bias.square().sum()
    # rounding may leave a length of 0 below it; there the gradient is cut, as at any zero row
    length = length.clamp_min(1e-24).sqrt()
    return _scaled(dot / (length * norm.clamp_min(1e-12)), alpha, reduction)


def _warn_zeros(norm: Tensor) -> None:
    zeros = int((norm == 0).sum())
    if zeros > ZERO_SHARE * len(norm):
        warnings.warn(
            f"more than {ZERO_SHARE:.0%} of the targets are all-zero rows: their error is 1 "
            "whatever is reconstructed",
            RuntimeWarning,
            stacklevel=4,
        )


def _scaled(cosine: Tensor, alpha: float, reduction: str) -> Tensor:
    error = 1 - cosine
    if alpha != int(alpha):  # rounding below 0 has no power that is not whole
        error = error.clamp_min(0)
    return reduce(error**alpha, reduction)
