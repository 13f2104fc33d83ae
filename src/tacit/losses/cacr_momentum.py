"""CACR with keys of a momentum encoder: queue form (MoCo v2), predictor form (MoCo v3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._cacr import CACROutput, check_not_negative, positive_costs, wants_weights
from ._common import check_positive, full_precision, unit_rows
from ._distances import (
    expected_squared_distance,
    logsumexp_squared_distance,
    squared_distances,
)
from ._views import MultiViews, stack_views
from .tiled import pairwise_logsumexp, pairwise_softmax_mean, softmax_key_mean


def _queue_repulsion(views: Tensor, queue: Tensor, t: float, intra_batch: bool) -> Tensor:
    """Expected cost of every query over queue and batch, (views * N,)."""
    q = views.flatten(0, 1)
    # The cost of a queued key is 2 - 2 <q, k>, linear in the key.
    key, log_mass = softmax_key_mean(q, queue, 2 * t)
    in_queue, queue_mass = 2 - 2 * (q * key).sum(1), log_mass - 2 * t
    if not intra_batch:
        return in_queue
    own = torch.arange(views.shape[1], device=q.device)
    in_batch = torch.cat([expected_squared_distance(v, v, t, self_index=own) for v in views])
    mass = torch.cat([logsumexp_squared_distance(v, v, t, self_index=own) for v in views])
    # The batch's share of all weight. Constant logits of the queue, live ones of the batch, give
    # the gradient of one softmax over both lists with the queue's part detached.
    share = torch.sigmoid(mass - queue_mass)
    return (1 - share) * in_queue + share * in_batch


def _queue_weights(q: Tensor, queue: Tensor, t: float, intra_batch: bool) -> Tensor:
    cost = 2 - 2 * q @ queue.T
    if intra_batch:
        keep = ~torch.eye(len(q), dtype=torch.bool, device=q.device)
        batch = squared_distances(q, q)[keep].view(len(q), len(q) - 1)
        cost = torch.cat([cost, batch], dim=1)
    return torch.softmax(-t * cost, dim=1)


@full_precision
def cacr_queue_loss(
    queries: MultiViews,
    keys: MultiViews,
    queue: Float[Tensor, "dim size"],
    *,
    t_pos: float = 1.0,
    t_neg: float = 2.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    intra_batch: bool = True,
    return_weights: bool | None = None,
) -> CACROutput:
    r"""CACR with the keys of a momentum encoder and a queue of old keys.

    For every view x: :math:`A_x = \alpha\, \mathrm{mean}_i \sum_{y \ne x} w^+ c(q_{xi}, k_{yi})`
    with constant weights, and
    :math:`R_x = -\beta\, \mathrm{mean}_i \sum_j w^-_j c_j`, where the list :math:`c` holds the
    distances to the queue, taken as :math:`2 - 2 \langle q, k \rangle`, and, with
    ``intra_batch``, to the other queries of the same view, and
    :math:`w^- = \mathrm{softmax}(-t^- c)`. Weights that depend on the queue are constants, those
    inside the batch carry a gradient. The loss is the mean over views of A_x + R_x.

    Every view uses its own distances to the queue. (The released code reuses those of the first.)

    Parameters
    ----------
    queries
        (V, N, d) or a list of V tensors (N, d): unit outputs of the trained encoder.
    keys
        The same of the momentum encoder; no gradient.
    queue
        (d, Q) unit keys of earlier batches; no gradient.
    t_pos, t_neg, alpha, beta
        As in :func:`cacr_loss`. The released flags default to alpha = beta = 3, its commands use 1.
    intra_batch
        Whether the other queries of the same view are negatives too.
    return_weights
        As in :func:`cacr_loss`; ``w_neg`` is (V, N, Q + N - 1), queue first.

    Returns
    -------
    CACROutput
        ``loss``, ``attraction``, ``repulsion``, ``w_pos``, ``w_neg``.

    Raises
    ------
    ValueError
        On shapes that do not fit, an empty queue, or negative settings.

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> import torch
    >>> z = torch.eye(2)
    >>> cacr_queue_loss([z, z], [z, z], -z, intra_batch=False, t_neg=0.0).repulsion
    tensor(-3.)
    """
    check_not_negative(t_pos=t_pos, t_neg=t_neg, alpha=alpha, beta=beta)
    q = stack_views(queries, minimum=2 if intra_batch else 1)
    k = stack_views(keys, minimum=1).detach()
    if q.shape != k.shape:
        raise ValueError(
            f"queries and keys must have the same shape (views, batch, dim), got {tuple(q.shape)} "
            f"and {tuple(k.shape)}"
        )
    if queue.ndim != 2 or queue.shape[0] != q.shape[2] or queue.shape[1] == 0:
        raise ValueError(
            f"queue must be (dim, size) with dim {q.shape[2]} and size above 0, got "
            f"{tuple(queue.shape)}; transpose it if its rows are keys"
        )
    old_keys = queue.detach().T.to(q.dtype)
    cost = positive_costs(q, k)
    w_pos = torch.softmax(t_pos * cost.detach(), dim=2)
    attraction = alpha * (w_pos * cost).sum(2).mean()
    repulsion = -beta * _queue_repulsion(q, old_keys, t_neg, intra_batch).mean()
    w_neg = None
    columns = len(old_keys) + (q.shape[1] - 1 if intra_batch else 0)
    if wants_weights(return_weights, q.shape[0] * q.shape[1] * columns, q.element_size()):
        w_neg = torch.stack(
            [_queue_weights(view, old_keys, t_neg, intra_batch) for view in q.detach()]
        )
    return CACROutput(attraction + repulsion, attraction, repulsion, w_pos, w_neg)


@full_precision
def cacr_moco_v3_loss(
    queries: MultiViews,
    key: Float[Tensor, "batch dim"],
    T: float = 1.0,
    form: str = "rbf",
    *,
    all_keys: Float[Tensor, "global dim"] | None = None,
    rank: int = 0,
    first: int | None = None,
    reduction: str | None = None,
) -> Float[Tensor, ""]:
    r"""CACR with a predictor and a momentum encoder, for the key of one view.

    :math:`p_v = \mathrm{softmax}_v(\lVert q_v - k \rVert^2 / T)` over the queries of the *other*
    views, per instance, constant. ``"rbf"``: :math:`2 T \sum_v \mathrm{mean}_n\, p_{vn}
    \mathrm{CE}(q_v k^\top / T)_n`. ``"euclidean"``, with :math:`c = 1 - \langle q, k \rangle`:
    :math:`\sum_v \sum_n p_{vn} (c_{nn} - \sum_{j \ne n} w_j c_{nj})`, where
    :math:`w = \mathrm{softmax}_{j \ne n}(-c / T)` is constant. The loss of a step is the mean
    over the key views. With one query, ``"rbf"`` is 2T times InfoNCE: CACR differs from MoCo v3
    only with more than two crops.

    Parameters
    ----------
    queries
        The predictions of the other views: (V, N, d) or a list of (N, d), V >= 1, of any scale.
    key
        (N, d) momentum embedding of this view; no gradient.
    T
        Temperature.
    form
        ``"rbf"`` or ``"euclidean"``.
    all_keys
        Keys of all processes in rank order; default: ``key``.
    rank
        Index of this process, where all processes hold N keys.
    first
        Place of this process's first key in ``all_keys``; default: ``rank`` N.
    reduction
        ``"mean"`` or ``"sum"`` over the batch. Default, as released: the mean for ``"rbf"`` and
        the sum for ``"euclidean"``, which makes their scales differ by N.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        On shapes that do not fit, an unknown form or reduction, or T <= 0.

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> import torch
    >>> cacr_moco_v3_loss([torch.eye(2)], torch.eye(2), form="euclidean")
    tensor(-2.)
    """
    check_positive("T", T)
    if form not in ("rbf", "euclidean"):
        raise ValueError(f"form must be 'rbf' or 'euclidean', got {form!r}")
    if reduction not in (None, "mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or None, got {reduction!r}")
    q = unit_rows(stack_views(queries, minimum_views=1, minimum=1), "queries")
    if key.shape != q.shape[1:]:
        raise ValueError(
            f"key must have the shape of one query, {tuple(q.shape[1:])}, got {tuple(key.shape)}"
        )
    k = unit_rows(key.detach(), "key")
    pool = k if all_keys is None else unit_rows(all_keys.detach(), "all_keys")
    batch = len(k)
    first = rank * batch if first is None else first
    if first < 0 or pool.shape[1] != k.shape[1] or len(pool) < first + batch:
        raise ValueError(
            f"all_keys {tuple(pool.shape)} does not hold {batch} keys of this process from {first}"
        )
    if len(pool) < 2:
        raise ValueError("need at least 2 keys for negatives, got 1; use a larger batch")
    positive = (q * k).sum(2)
    share = torch.softmax((q - k).square().sum(2).detach() / T, dim=0)
    if form == "rbf":
        lse = torch.stack([pairwise_logsumexp(view, pool, 1 / T) for view in q])
        terms = 2 * T * (lse - positive / T)
    else:
        own = torch.arange(batch, device=k.device) + first
        mean = [
            pairwise_softmax_mean(view, pool, 1 / T, self_index=own, detach_weights=True)
            for view in q
        ]
        # (1 - s_nn) - sum_j w_j (1 - s_nj)
        terms = torch.stack(mean) - positive
    total = (share * terms).sum()
    averaged = form == "rbf" if reduction is None else reduction == "mean"
    return total / batch if averaged else total
