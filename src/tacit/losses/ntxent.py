"""NT-Xent, the InfoNCE loss of SimCLR, for two views and for any number of positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._common import check_positive, check_views, full_precision, reduce, unit_rows
from .tiled import pairwise_logsumexp, pairwise_logsumexp_both


@full_precision
def nt_xent_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.1,
    reduction: str = "mean",
    gather: bool = False,
    normalize: bool = True,
) -> Float[Tensor, ...]:
    r"""Normalised temperature-scaled cross-entropy over the 2N embeddings of two views.

    .. math:: \ell_a = -\langle u_a, u_{pos(a)} \rangle / \tau
              + \log \sum_{b \ne a} \exp(\langle u_a, u_b \rangle / \tau)

    for each of the 2N anchors, with unit vectors u; the positive is part of the sum.

    Parameters
    ----------
    z1, z2
        Projections of the two views, row i of both from the same instance; normalised inside.
    temperature
        :math:`\tau > 0`.
    reduction
        ``"mean"`` over the 2N anchors, ``"sum"``, or ``"none"`` for a (2, batch) tensor.
    gather
        Use the embeddings of all processes as columns (differentiable).
    normalize
        ``False``: inner products of the vectors as they are.

    Raises
    ------
    ValueError
        On different shapes, non-finite rows, or a temperature that is not above 0.

    References
    ----------
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, eq. 1.

    Examples
    --------
    >>> import torch
    >>> z = torch.eye(2)
    >>> nt_xent_loss(z, z, temperature=0.5)
    tensor(0.2395)
    """
    check_views(z1, z2)
    check_positive("temperature", temperature)
    u1, u2 = (unit_rows(z1, "z1"), unit_rows(z2, "z2")) if normalize else (z1, z2)
    n, weight = len(u1), 1.0
    own = torch.arange(n, device=u1.device)
    all1, all2 = u1, u2
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(n, u1.device)
        all1, all2 = all_gather(u1, rows), all_gather(u2, rows)
        own, weight = own + rows.first, rows.weight
    anchors = torch.cat([u1, u2])
    log_sum = pairwise_logsumexp(
        anchors,
        anchors if all1 is u1 and all2 is u2 else torch.cat([all1, all2]),
        1 / temperature,
        self_index=torch.cat([own, own + len(all1)]),
    )
    positive = (u1 * u2).sum(1) / temperature
    return reduce(log_sum.view(2, n) - positive, reduction, weight)


@full_precision
def nt_xent(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    temperature: float,
    negatives: str = "both",
    *,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""NT-Xent with the choice of negatives: those of both views or those of the other view only.

    Parameters
    ----------
    z1, z2
        Projections of the two views, row i of both from the same instance; normalised inside.
    temperature
        :math:`\tau > 0`.
    negatives
        ``"both"``: the other 2B - 2 rows of both views, which is :func:`nt_xent_loss`.
        ``"cross"``: the other B - 1 rows of the other view, the symmetric InfoNCE.
    gather
        Use the embeddings of all processes as columns (differentiable).

    Raises
    ------
    ValueError
        On different shapes, non-finite rows, a temperature that is not above 0, or another choice
        of negatives.

    Examples
    --------
    >>> import torch
    >>> z = torch.eye(2)
    >>> nt_xent(z, z, 0.5), nt_xent(z, z, 0.5, negatives="cross")
    (tensor(0.2395), tensor(0.1269))
    """
    if negatives == "both":
        return nt_xent_loss(z1, z2, temperature=temperature, gather=gather)
    if negatives != "cross":
        raise ValueError(f"negatives must be 'both' or 'cross', got {negatives!r}")
    check_views(z1, z2)
    check_positive("temperature", temperature)
    u1, u2 = unit_rows(z1, "z1"), unit_rows(z2, "z2")
    all1, all2, weight = u1, u2, 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(u1), u1.device)
        all1, all2, weight = all_gather(u1, rows), all_gather(u2, rows), rows.weight
    if all1 is not u1:
        both = [pairwise_logsumexp(a, b, 1 / temperature) for a, b in ((u1, all2), (u2, all1))]
    else:
        both = list(pairwise_logsumexp_both(u1, u2, 1 / temperature))
    return weight * (torch.stack(both) - (u1 * u2).sum(1) / temperature).mean()


@full_precision
def multi_positive_nt_xent_loss(
    views: Float[Tensor, "views batch dim"]
    | Float[Tensor, "rows dim"]
    | Sequence[Float[Tensor, "batch dim"]],
    instance_ids: Int[Tensor, " rows"] | None = None,
    *,
    temperature: float = 0.1,
    positives: Literal["inside", "outside"] = "inside",
) -> Float[Tensor, ""]:
    r"""NT-Xent with any number of positives.

    .. math:: \ell_a = -\log \frac{\sum_{p \in P(a)} e^{s_{ap}}}
              {\sum_{p \in P(a)} e^{s_{ap}} + \sum_{n \in N(a)} e^{s_{an}}}

    P(a) are the other embeddings of the anchor's instance, N(a) those of other instances. With two
    views it is :func:`nt_xent_loss`.

    Parameters
    ----------
    views
        A list of V tensors (batch, dim), a tensor (V, batch, dim), or rows (rows, dim) together
        with ``instance_ids``.
    instance_ids
        For rows: the instance (or class, for the supervised form) of each.
    positives
        ``"inside"``: the sum of the positives is inside one logarithm, as above. ``"outside"``:
        one logarithm for each positive, and their mean.

    Raises
    ------
    ValueError
        If some instance has a single embedding (no positive), there is a single instance (no
        negative), or ids are missing.

    Examples
    --------
    >>> import torch
    >>> multi_positive_nt_xent_loss([torch.eye(2)] * 2, temperature=0.5)
    tensor(0.2395)
    """
    check_positive("temperature", temperature)
    if not isinstance(views, Tensor):
        if len(views) < 2:
            raise ValueError(f"views: at least two views are needed, got {len(views)}")
        check_views(*views, names="views")
        views = torch.stack(list(views))
    if views.ndim == 3:
        if instance_ids is not None:
            raise ValueError("instance_ids is for rows (rows, dim); views already tell instances")
        instance_ids = torch.arange(views.shape[1], device=views.device).repeat(len(views))
        views = views.flatten(0, 1)
    elif instance_ids is None:
        raise ValueError("rows (rows, dim) need instance_ids; or give (views, batch, dim)")
    u = unit_rows(views, "views")
    own = torch.arange(len(u), device=u.device)
    groups, group, counts = torch.unique(instance_ids, return_inverse=True, return_counts=True)
    others = counts[group] - 1
    if bool((others == 0).any()):
        row = int((others == 0).nonzero()[0])
        raise ValueError(
            f"instance {int(instance_ids[row])} has a single embedding, so no positive; give every "
            "instance at least two"
        )
    if len(groups) < 2:
        raise ValueError("a single instance has no negatives; use a larger batch")
    if positives == "inside":
        attraction = pairwise_logsumexp(
            u,
            u,
            1 / temperature,
            row_ids=instance_ids,
            col_ids=instance_ids,
            match="only",
            self_index=own,
        )
    elif positives == "outside":
        # The mean similarity to the positives is one product with their sum.
        sums = torch.zeros(len(groups), u.shape[1], dtype=u.dtype, device=u.device)
        sums = sums.index_add(0, group, u)[group] - u
        attraction = (u * sums).sum(1) / others / temperature
    else:
        raise ValueError(f"positives must be 'inside' or 'outside', got {positives!r}")
    everything = pairwise_logsumexp(u, u, 1 / temperature, self_index=own)
    return (everything - attraction).mean()
