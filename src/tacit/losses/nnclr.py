"""NNCLR: nearest neighbours as positives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, check_views, full_precision, unit_rows
from .tiled import pairwise_logsumexp


@full_precision
def nnclr_loss(
    nn: Float[Tensor, "batch dim"],
    p: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.1,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""InfoNCE of the nearest neighbours of one view against the predictions of the other.

    .. math:: CE(nn \, p^T / \tau)

    with the own instance as the target; one direction. The full loss is
    ``(nnclr_loss(nn1, p2) + nnclr_loss(nn2, p1)) / 2``. lightly's form, which also has same-view
    negatives, is ``nt_xent_loss(nn, p)``.

    Parameters
    ----------
    nn
        For each instance the nearest neighbour of its projection (``FeatureQueue.nearest``).
    p
        Predictor outputs of the other view.
    gather
        Use the predictions of all processes as columns (differentiable).

    References
    ----------
    Dwibedi et al., With a Little Help from My Friends, 2021, eq. 3.

    Examples
    --------
    >>> import torch
    >>> nnclr_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor(0.3133)
    """
    check_views(nn, p, names="nn, p")
    check_positive("temperature", temperature)
    u, v = unit_rows(nn, "nn"), unit_rows(p, "p")
    positive, weight = (u * v).sum(1) / temperature, 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(u), u.device)
        v, weight = all_gather(v, rows), rows.weight
    return weight * (pairwise_logsumexp(u, v, 1 / temperature) - positive).mean()
