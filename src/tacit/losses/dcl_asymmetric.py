"""Decoupled contrastive losses of one direction: a query against a queue or against predictions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, check_views, full_precision, unit_rows
from .tiled import pairwise_logsumexp


@full_precision
def moco_dcl_loss(
    q: Float[Tensor, "batch dim"],
    k: Float[Tensor, "batch dim"],
    queue: Float[Tensor, "dim size"],
    *,
    temperature: float = 0.2,
) -> Float[Tensor, ""]:
    r"""DCL for MoCo: only the queue in the denominator.

    .. math:: -q \cdot k / \tau + \log \sum_j \exp(q \cdot Q_j / \tau)

    Parameters are those of :func:`~tacit.losses.moco_loss`; the queue must not be empty.

    Examples
    --------
    >>> import torch
    >>> moco_dcl_loss(torch.eye(2), torch.eye(2), -torch.eye(2), temperature=1.0)
    tensor(-0.6867)
    """
    check_views(q, k, names="q, k")
    check_positive("temperature", temperature)
    if queue.ndim != 2 or queue.shape[0] != q.shape[1] or queue.shape[1] == 0:
        raise ValueError(
            f"queue must be (dim, size) with dim {q.shape[1]} and size above 0, got "
            f"{tuple(queue.shape)}"
        )
    u, key = unit_rows(q, "q"), unit_rows(k.detach(), "k")
    log_negatives = pairwise_logsumexp(u, queue.detach().T.to(u.dtype), 1 / temperature)
    return (log_negatives - (u * key).sum(1) / temperature).mean()


@full_precision
def nnclr_dcl_loss(
    nn: Float[Tensor, "batch dim"],
    p: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.1,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""DCL for NNCLR: the neighbour's own prediction is left out of the denominator.

    Parameters are those of :func:`~tacit.losses.nnclr_loss`; one direction.

    Examples
    --------
    >>> import torch
    >>> nnclr_dcl_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor(-1.)
    """
    check_views(nn, p, names="nn, p")
    check_positive("temperature", temperature)
    u, v = unit_rows(nn, "nn"), unit_rows(p, "p")
    positive = (u * v).sum(1) / temperature
    own, weight = torch.arange(len(u), device=u.device), 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(u), u.device)
        v, own, weight = all_gather(v, rows), own + rows.first, rows.weight
    log_negatives = pairwise_logsumexp(u, v, 1 / temperature, self_index=own)
    return weight * (log_negatives - positive).mean()
