"""The loss of SimSiam: negative cosine with a stop-gradient on the other branch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._common import check_views, full_precision, unit_rows


@full_precision
def simsiam_loss(
    p1: Float[Tensor, "batch dim"],
    p2: Float[Tensor, "batch dim"],
    z1: Float[Tensor, "batch dim"] | None = None,
    z2: Float[Tensor, "batch dim"] | None = None,
) -> Float[Tensor, ""]:
    r"""Symmetric negative cosine similarity with stop-gradient.

    .. math:: -\tfrac12 \cos(p_1, sg\, z_2) - \tfrac12 \cos(p_2, sg\, z_1)

    averaged over the batch; between -1 and 1.

    Parameters
    ----------
    p1, p2
        Predictor outputs of the two views. ``simsiam_loss(p, z)`` with two arguments is one
        direction, without the half.
    z1, z2
        Projector outputs of the two views; they get no gradient here.

    References
    ----------
    Chen, He, Exploring Simple Siamese Representation Learning, 2021, eq. 2.

    Examples
    --------
    >>> import torch
    >>> simsiam_loss(torch.eye(2), torch.eye(2))
    tensor(-1.)
    """
    if z1 is None and z2 is None:
        return _direction(p1, p2)
    if z1 is None or z2 is None:
        raise ValueError("give (p, z) for one direction or (p1, p2, z1, z2) for both")
    return (_direction(p1, z2) + _direction(p2, z1)) / 2


def _direction(p: Tensor, z: Tensor) -> Tensor:
    check_views(p, z, names="p, z")
    return -(unit_rows(p, "p") * unit_rows(z.detach(), "z")).sum(1).mean()
