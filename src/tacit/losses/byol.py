"""The loss of BYOL: predict the target network's embedding of the other view."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._common import check_views, full_precision, unit_rows


@full_precision
def byol_loss(
    p1: Float[Tensor, "batch dim"],
    p2: Float[Tensor, "batch dim"],
    k1: Float[Tensor, "batch dim"] | None = None,
    k2: Float[Tensor, "batch dim"] | None = None,
    *,
    normalize: bool = True,
) -> Float[Tensor, ""]:
    r"""Squared distance of unit predictions and unit targets, summed over the two directions.

    .. math:: [2 - 2 \cos(p_1, sg\, k_2)] + [2 - 2 \cos(p_2, sg\, k_1)]

    averaged over the batch; between 0 and 8. The targets get no gradient.

    Parameters
    ----------
    p1, p2
        Predictor outputs of the two views. ``byol_loss(p, k)`` with two arguments is one
        direction only (between 0 and 4).
    k1, k2
        Target network outputs of the two views.
    normalize
        ``False``: squared distances of the vectors as they are, summed over the features.

    References
    ----------
    Grill et al., Bootstrap Your Own Latent, 2020, eq. 2.

    Examples
    --------
    >>> import torch
    >>> byol_loss(torch.eye(2), torch.eye(2).flip(0))
    tensor(2.)
    """
    if k1 is None and k2 is None:
        return _direction(p1, p2, normalize)
    if k1 is None or k2 is None:
        raise ValueError("give (p, k) for one direction or (p1, p2, k1, k2) for both")
    return _direction(p1, k2, normalize) + _direction(p2, k1, normalize)


def _direction(p: Tensor, k: Tensor, normalize: bool) -> Tensor:
    check_views(p, k, names="p, k")
    if not normalize:
        return (p - k.detach()).square().sum(1).mean()
    return 2 - 2 * (unit_rows(p, "p") * unit_rows(k.detach(), "k")).sum(1).mean()
