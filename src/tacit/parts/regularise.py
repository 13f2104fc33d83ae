"""Constraints put on a trained linear predictor after each optimiser step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def symmetrise_(
    weight: Float[Tensor, "dim dim"], *, normalize: bool = False
) -> Float[Tensor, "dim dim"]:
    r"""Make a weight symmetric in place, :math:`W \leftarrow (W + W^T) / 2`.

    Parameters
    ----------
    normalize
        Then divide by the largest eigenvalue, if that is not below 0.01 in absolute value.

    References
    ----------
    Tian, Chen, Ganguli, Understanding self-supervised Learning Dynamics without Contrastive Pairs,
    2021.

    Examples
    --------
    >>> import torch
    >>> symmetrise_(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([[1., 1.],
            [1., 1.]])
    """
    weight.copy_((weight + weight.T) / 2)
    if normalize:
        largest = torch.linalg.eigvalsh(weight)[-1]
        if bool(largest.abs() > 1e-2):
            weight.div_(largest)
    return weight


@torch.no_grad()
def symmetrise_pair_(
    first: Float[Tensor, "hidden dim"], second: Float[Tensor, "dim hidden"]
) -> None:
    r"""Tie two layers in place: :math:`W_0 \leftarrow (W_0 + W_1^T)/2`, then :math:`W_1 = W_0^T`.

    Examples
    --------
    >>> import torch
    >>> w0, w1 = torch.ones(3, 2), torch.zeros(2, 3)
    >>> symmetrise_pair_(w0, w1)
    >>> bool((w0 == 0.5).all() and (w1 == 0.5).all())
    True
    """
    first.copy_((first + second.T) / 2)
    second.copy_(first.T)


@torch.no_grad()
def diagonalise_(weight: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    """Set everything off the diagonal to zero, in place.

    Examples
    --------
    >>> import torch
    >>> diagonalise_(torch.ones(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return weight.copy_(torch.diag(weight.diagonal()))
