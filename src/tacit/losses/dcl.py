"""Decoupled contrastive learning: the positive is left out of the denominator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ._common import check_positive, check_views, full_precision, reduce, unit_rows
from .dcl_asymmetric import moco_dcl_loss, nnclr_dcl_loss
from .tiled import pairwise_logsumexp

__all__ = [
    "DCLLoss",
    "DCLWLoss",
    "dcl_loss",
    "dclw_loss",
    "moco_dcl_loss",
    "nnclr_dcl_loss",
    "npc_multiplier",
    "von_mises_fisher_weights",
]

WeightFn = Callable[[Tensor, Tensor], Tensor]
Negatives = Literal["joint", "product"]


@full_precision
def dcl_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.1,
    weight_fn: WeightFn | None = None,
    negatives: Negatives = "joint",
    reduction: Literal["mean", "sum", "none"] = "mean",
    gather: bool = False,
    instance_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ...]:
    r"""Decoupled contrastive loss (DCL).

    .. math:: \ell_i^{(k)} = -w_i \langle u_i^{(1)}, u_i^{(2)} \rangle / \tau
              + \log \sum_{l \in \{1,2\}, j \ne i} \exp(\langle u_i^{(k)}, u_j^{(l)} \rangle / \tau)

    The positive is absent from the sum, so an easy positive does not shrink the gradient. Per
    anchor, ``softplus(DCL)`` is NT-Xent.

    Parameters
    ----------
    z1, z2
        Projections of the two views, at least 2 rows; normalised inside.
    temperature
        :math:`\tau > 0`.
    weight_fn
        ``(u1, u2) -> (batch,)`` weights of the positives, from unit vectors.
    negatives
        ``"joint"``: one sum over the negatives of both views. ``"product"``: the product of the
        two sums, as in lightly before June 2025; only to repeat old results.
    reduction
        ``"mean"`` over the 2N anchors (lightly), ``"sum"`` (paper), or ``"none"`` for (2, batch).
    gather
        Use the embeddings of all processes as negatives (differentiable); weights are then taken
        over all of them too.
    instance_ids
        Ids of the instances, where a batch may hold one instance twice: equal ids are never
        negatives of each other.

    Raises
    ------
    ValueError
        With no negative (one instance), different shapes, or a temperature that is not above 0.

    References
    ----------
    Yeh et al., Decoupled Contrastive Learning, 2022, eq. 5-6.

    Examples
    --------
    >>> import torch
    >>> dcl_loss(torch.eye(2), torch.eye(2), temperature=0.5)
    tensor(-1.3069)
    """
    check_views(z1, z2)
    check_positive("temperature", temperature)
    u1, u2 = unit_rows(z1, "z1"), unit_rows(z2, "z2")
    all1, all2, first, weight = u1, u2, 0, 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(len(u1), u1.device)
        all1, all2 = all_gather(u1, rows), all_gather(u2, rows)
        first, weight = rows.first, rows.weight
        if instance_ids is not None:
            instance_ids = all_gather(instance_ids, rows)
    check_views(all1, all2, minimum=2)
    ids = torch.arange(len(all1), device=u1.device) if instance_ids is None else instance_ids
    own = slice(first, first + len(u1))
    log_negatives = _log_negatives(u1, u2, all1, all2, ids[own], ids, temperature, negatives)
    positive = (u1 * u2).sum(1) / temperature
    if weight_fn is None:
        weighted = positive.expand(2, -1)
    else:
        weights = [weight_fn(all1, all2)[own], weight_fn(all2, all1)[own]]
        weighted = torch.stack(weights) * positive
    return reduce(log_negatives - weighted, reduction, weight)


def _log_negatives(
    u1: Tensor,
    u2: Tensor,
    all1: Tensor,
    all2: Tensor,
    row_ids: Tensor,
    col_ids: Tensor,
    temperature: float,
    negatives: str,
) -> Tensor:
    """``log U`` of every anchor, (2, batch)."""
    anchors, row_ids = torch.cat([u1, u2]), row_ids.repeat(2)
    # One tensor where both are the same: half the work.
    keys = anchors if all1 is u1 and all2 is u2 else torch.cat([all1, all2])
    if negatives == "joint":
        out = pairwise_logsumexp(
            anchors,
            keys,
            1 / temperature,
            row_ids=row_ids,
            col_ids=col_ids.repeat(2),
        )
    elif negatives == "product":
        sums = [
            pairwise_logsumexp(anchors, view, 1 / temperature, row_ids=row_ids, col_ids=col_ids)
            for view in (all1, all2)
        ]
        out = sums[0] + sums[1]
    else:
        raise ValueError(f"negatives must be 'joint' or 'product', got {negatives!r}")
    return out.view(2, -1)


@full_precision
def dclw_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.1,
    sigma: float = 0.5,
    detach_weights: bool = True,
    negatives: Negatives = "joint",
    reduction: Literal["mean", "sum", "none"] = "mean",
    gather: bool = False,
    instance_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ...]:
    r"""DCL whose positives are weighted by :func:`von_mises_fisher_weights` (DCLW).

    Parameters
    ----------
    sigma
        Width of the weights; :math:`\sigma \to \infty` gives :func:`dcl_loss`.
    detach_weights
        Treat the weights as constants (lightly) or let gradient through them.

    The others are those of :func:`dcl_loss`.

    Examples
    --------
    >>> import torch
    >>> dclw_loss(torch.eye(2), torch.eye(2), temperature=0.5)
    tensor(-1.3069)
    """
    check_positive("sigma", sigma)

    def weights(u1: Tensor, u2: Tensor) -> Tensor:
        w = von_mises_fisher_weights(u1, u2, sigma)
        return w.detach() if detach_weights else w

    return dcl_loss(
        z1,
        z2,
        temperature=temperature,
        weight_fn=weights,
        negatives=negatives,
        reduction=reduction,
        gather=gather,
        instance_ids=instance_ids,
    )


@full_precision
def von_mises_fisher_weights(
    z1: Float[Tensor, "batch dim"], z2: Float[Tensor, "batch dim"], sigma: float = 0.5
) -> Float[Tensor, " batch"]:
    r"""Weights of positives, larger for dissimilar pairs; their mean is 1.

    .. math:: w_i = 2 - \frac{\exp(\langle u_i^{(1)}, u_i^{(2)} \rangle / \sigma)}
              {\text{mean}_j \exp(\langle u_j^{(1)}, u_j^{(2)} \rangle / \sigma)}

    A weight can be negative, down to 2 - N.

    Examples
    --------
    >>> import torch
    >>> von_mises_fisher_weights(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    tensor([0.2384, 1.7616])
    """
    check_views(z1, z2)
    check_positive("sigma", sigma)
    similarity = (unit_rows(z1, "z1") * unit_rows(z2, "z2")).sum(1)
    return 2 - len(z1) * torch.softmax(similarity / sigma, dim=0)


@full_precision
def npc_multiplier(
    z1: Float[Tensor, "batch dim"], z2: Float[Tensor, "batch dim"], temperature: float = 0.1
) -> Float[Tensor, "2 batch"]:
    r"""Negative-positive coupling multiplier of every anchor.

    .. math:: q_i^{(k)} = \frac{U_i^{(k)}}{\exp(\langle u_i^{(1)}, u_i^{(2)} \rangle / \tau)
              + U_i^{(k)}}

    with U the sum over negatives of :func:`dcl_loss`. The gradient of an anchor's NT-Xent term is
    q times that of its DCL term: values near 0 mean that NT-Xent hardly learns from this batch.

    Examples
    --------
    >>> import torch
    >>> npc_multiplier(torch.eye(2), torch.eye(2), temperature=0.5)[0]
    tensor([0.2130, 0.2130])
    """
    return torch.sigmoid(dcl_loss(z1, z2, temperature=temperature, reduction="none"))


class DCLLoss(nn.Module):
    """:func:`dcl_loss` with its options fixed, as a module."""

    def __init__(
        self,
        temperature: float = 0.1,
        weight_fn: WeightFn | None = None,
        negatives: Negatives = "joint",
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight_fn = weight_fn
        self.negatives: Negatives = negatives
        self.gather = gather

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Mean loss of two views (batch, dim)."""
        return dcl_loss(
            z1,
            z2,
            temperature=self.temperature,
            weight_fn=self.weight_fn,
            negatives=self.negatives,
            gather=self.gather,
        )


class DCLWLoss(nn.Module):
    """:func:`dclw_loss` with its options fixed, as a module."""

    def __init__(
        self,
        temperature: float = 0.1,
        sigma: float = 0.5,
        detach_weights: bool = True,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.sigma = sigma
        self.detach_weights = detach_weights
        self.gather = gather

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Mean loss of two views (batch, dim)."""
        return dclw_loss(
            z1,
            z2,
            temperature=self.temperature,
            sigma=self.sigma,
            detach_weights=self.detach_weights,
            gather=self.gather,
        )
