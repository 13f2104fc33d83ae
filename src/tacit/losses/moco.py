"""The losses of MoCo: a queue of negatives (v2), and the batch as negatives (v3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, check_views, full_precision, unit_rows
from .tiled import pairwise_logsumexp


@full_precision
def moco_loss(
    q: Float[Tensor, "batch dim"],
    k: Float[Tensor, "batch dim"],
    queue: Float[Tensor, "dim size"],
    *,
    temperature: float = 0.2,
) -> Float[Tensor, ""]:
    r"""InfoNCE of queries against their key and a queue of past keys (MoCo v1 and v2).

    .. math:: -\log \frac{e^{q \cdot k / \tau}}{e^{q \cdot k / \tau}
              + \sum_j e^{q \cdot Q_j / \tau}}

    Parameters
    ----------
    q
        Embeddings of the online network; normalised inside.
    k
        Embeddings of the same instances by the momentum network; normalised inside, no gradient.
    queue
        Past keys as unit **columns** (``FeatureQueue.columns``), used as they are, no gradient. An
        empty queue gives 0. Enqueue ``k`` after the loss.

    References
    ----------
    He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020, eq. 1.

    Examples
    --------
    >>> import torch
    >>> moco_loss(torch.eye(2), torch.eye(2), -torch.eye(2), temperature=1.0)
    tensor(0.4076)
    """
    check_views(q, k, names="q, k")
    check_positive("temperature", temperature)
    if queue.ndim != 2 or queue.shape[0] != q.shape[1]:
        raise ValueError(
            f"queue must be (dim, size) with dim {q.shape[1]}, got {tuple(queue.shape)}; a queue "
            "that stores rows is passed transposed"
        )
    u, key = unit_rows(q, "q"), unit_rows(k.detach(), "k")
    positive = (u * key).sum(1) / temperature
    if queue.shape[1] == 0:
        return (positive - positive).mean()
    negatives = pairwise_logsumexp(u, queue.detach().T.to(u.dtype), 1 / temperature)
    return (torch.logaddexp(positive, negatives) - positive).mean()


@full_precision
def moco_v3_loss(
    q1: Float[Tensor, "batch dim"],
    q2: Float[Tensor, "batch dim"],
    k1: Float[Tensor, "batch dim"] | None = None,
    k2: Float[Tensor, "batch dim"] | None = None,
    *,
    temperature: float = 0.2,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""Symmetric InfoNCE of predictions against the momentum keys of the batch (MoCo v3).

    .. math:: 2 \tau \, CE(q_1 k_2^T / \tau) + 2 \tau \, CE(q_2 k_1^T / \tau)

    with the own instance as the target. No gradient flows to the keys.

    Parameters
    ----------
    q1, q2
        Predictor outputs of the two views. ``moco_v3_loss(q, k)`` with two arguments is one
        direction only.
    k1, k2
        Momentum projections of the two views.
    gather
        Use the keys of all processes as columns.

    References
    ----------
    Chen, Xie, He, An Empirical Study of Training Self-Supervised Vision Transformers, 2021.

    Examples
    --------
    >>> import torch
    >>> moco_v3_loss(torch.ones(1, 4), torch.ones(1, 4))
    tensor(0.)
    """
    check_positive("temperature", temperature)
    if k1 is None and k2 is None:
        return _moco_v3_direction(q1, q2, temperature, gather)
    if k1 is None or k2 is None:
        raise ValueError("give (q, k) for one direction or (q1, q2, k1, k2) for both")
    first = _moco_v3_direction(q1, k2, temperature, gather)
    return first + _moco_v3_direction(q2, k1, temperature, gather)


def _moco_v3_direction(q: Tensor, k: Tensor, temperature: float, gather: bool) -> Tensor:
    check_views(q, k, names="q, k")
    u, key = unit_rows(q, "q"), unit_rows(k.detach(), "k")
    positive, weight = (u * key).sum(1) / temperature, 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(u), u.device)
        key, weight = all_gather(key, rows), rows.weight
    log_sum = pairwise_logsumexp(u, key, 1 / temperature)
    return 2 * temperature * weight * (log_sum - positive).mean()
