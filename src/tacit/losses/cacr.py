"""Contrastive attraction and contrastive repulsion (CACR) between the views of a batch."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from ._cacr import CACROutput, check_not_negative, checked_views, wants_weights
from ._common import full_precision
from ._distances import (
    expected_squared_distance,
    logsumexp_squared_distance,
    squared_distances,
)
from ._views import MultiViews
from .cacr_positives import attraction_terms, cacr_attraction

__all__ = ["cacr_attraction", "cacr_loss", "cacr_repulsion"]

CHOICES = ("full", "none", "without_w1", "without_w2")


def _log_expected_rbf(x: Tensor, y: Tensor, t: float, rbf_t: float, detach: bool) -> Tensor:
    """log sum_j w_ij exp(-rbf_t c_ij), with w = softmax_j(-t c) and the diagonal left out."""
    own = torch.arange(len(x), device=x.device)
    # sum_j softmax_j(-t c) exp(-s c) = sum_j exp(-(t + s) c) / sum_j exp(-t c)
    joint = logsumexp_squared_distance(x, y, t + rbf_t, self_index=own)
    if not detach:
        return joint - logsumexp_squared_distance(x, y, t, self_index=own)
    # With constant weights only s of the exponent t + s carries a gradient.
    share = rbf_t / (t + rbf_t)
    constant = logsumexp_squared_distance(x.detach(), y.detach(), t, self_index=own)
    return joint.detach() * (1 - share) + joint * share - constant


def _pair_repulsion(
    x: Tensor,
    y: Tensor,
    t_neg: float,
    beta: float,
    detach: bool,
    cost: str,
    rbf_t: float,
    tau_plus: float | None,
    debias: str,
) -> Tensor:
    if cost == "rbf":
        rows = _log_expected_rbf(x, y, t_neg, rbf_t, detach)
        return beta * (torch.logsumexp(rows, dim=0) - math.log(len(rows)))
    own = torch.arange(len(x), device=x.device)
    negative = -beta * expected_squared_distance(x, y, t_neg, self_index=own, detach_weights=detach)
    if tau_plus is None:
        return negative.mean()
    positive = (x - y).square().sum(1)
    correction = -tau_plus * positive if debias == "code" else tau_plus * beta * positive
    return ((correction + negative) / (1 - tau_plus)).mean()


def _query_negative_pairs(z: Tensor, symmetric: bool) -> list[tuple[Tensor, Tensor]]:
    pairs = list(combinations(z, 2))
    return pairs + [(y, x) for x, y in pairs] if symmetric else pairs


@full_precision
def cacr_repulsion(
    views: MultiViews,
    *,
    t_neg: float = 1.0,
    beta: float = 1.0,
    detach_weights: bool = False,
    symmetric: bool = False,
    cost: str = "sqeuclidean",
    rbf_t: float = 2.0,
    tau_plus: float | None = None,
    debias: str = "code",
    assume_normalized: bool = False,
) -> Float[Tensor, ""]:
    r"""Contrastive repulsion: the near negatives of a query are pushed hardest.

    .. math:: R = -\frac{\beta}{P N} \sum_{x < y} \sum_i \sum_{j \ne i} w^-_{ij} c(z_{xi}, z_{yj}),
              \qquad w^- = \mathrm{softmax}_{j \ne i}(-t^- c)

    over the P unordered pairs of views. The earlier view is the query and only the other view
    gives negatives. Memory is linear in N for large N.

    Parameters
    ----------
    views, detach_weights, assume_normalized
        As in :func:`cacr_attraction`.
    t_neg
        Inverse temperature of the negatives' weights; 0 weights them equally, which only spreads
        the mean of the batch and does not prevent clumps.
    beta
        Scale of the term (not of the weights' logits); 0 drops it.
    symmetric
        Average over ordered pairs, so that the order of the views does not matter.
    cost
        ``"sqeuclidean"``, or ``"rbf"``: the log of the mean of the weighted exp(-rbf_t c), times
        beta, with the same weights.
    rbf_t
        Inverse width of the RBF cost.
    tau_plus
        Prior that a negative is a positive, for the debiased form: the mean of
        (correction - beta sum_j w c) / (1 - tau_plus). The released default is 0.1 where it is on.
    debias
        ``"code"``: correction = -tau_plus c(z_xi, z_yi), as released; ``"corrected"``:
        +tau_plus beta c(z_xi, z_yi), which subtracts the positives from the negatives.

    Returns
    -------
    Tensor
        Scalar; in [-4 beta, 0] for unit vectors and the squared Euclidean cost.

    Raises
    ------
    ValueError
        As :func:`cacr_attraction`, and on an unknown cost or ``tau_plus`` outside [0, 1).

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> import torch
    >>> cacr_repulsion([torch.eye(2), torch.eye(2)], t_neg=0.9)
    tensor(-2.)
    """
    check_not_negative(t_neg=t_neg, beta=beta)
    if cost not in ("sqeuclidean", "rbf"):
        raise ValueError(f"cost must be 'sqeuclidean' or 'rbf', got {cost!r}")
    if cost == "rbf" and not (math.isfinite(rbf_t) and rbf_t > 0):
        raise ValueError(f"rbf_t must be a finite number above 0, got {rbf_t}")
    if debias not in ("code", "corrected"):
        raise ValueError(f"debias must be 'code' or 'corrected', got {debias!r}")
    if tau_plus is not None and not 0 <= tau_plus < 1:
        raise ValueError(f"tau_plus must be in [0, 1), got {tau_plus}")
    if tau_plus is not None and cost == "rbf":
        raise ValueError("tau_plus belongs to cost='sqeuclidean'; the RBF form is not debiased")
    z = checked_views(views, assume_normalized)
    terms = [
        _pair_repulsion(x, y, t_neg, beta, detach_weights, cost, rbf_t, tau_plus, debias)
        for x, y in _query_negative_pairs(z, symmetric)
    ]
    return torch.stack(terms).mean()


def _negative_weights(z: Tensor, t_neg: float, symmetric: bool) -> Tensor:
    """Softmax weights of the N - 1 negatives of every query, for every pair of views."""
    count = z.shape[1]
    keep = ~torch.eye(count, dtype=torch.bool, device=z.device)
    rows = [
        squared_distances(x, y)[keep].view(count, count - 1)
        for x, y in _query_negative_pairs(z, symmetric)
    ]
    return torch.softmax(-t_neg * torch.stack(rows), dim=2)


@full_precision
def cacr_loss(
    views: MultiViews,
    *,
    t_pos: float = 1.0,
    t_neg: float = 1.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    choice: str = "full",
    detach_weights: bool = False,
    symmetric: bool = False,
    cost: str = "sqeuclidean",
    rbf_t: float = 2.0,
    tau_plus: float | None = None,
    debias: str = "code",
    assume_normalized: bool = False,
    return_weights: bool | None = None,
) -> CACROutput:
    """Contrastive attraction plus contrastive repulsion: A + R.

    Parameters
    ----------
    views, t_pos, alpha, detach_weights, assume_normalized
        As in :func:`cacr_attraction`.
    t_neg, beta, symmetric, cost, rbf_t, tau_plus, debias
        As in :func:`cacr_repulsion`; ``cost`` is that of the repulsion. CIFAR-10 uses
        ``t_neg=0.9``, CIFAR-100 and STL-10 2.0.
    choice
        Ablation: ``"full"``; ``"without_w1"``, equal weights of the positives; ``"without_w2"``,
        equal weights of the negatives (and no debiasing); ``"none"``, both.
    return_weights
        Return ``w_pos`` and ``w_neg`` (pairs, N, N - 1). The default returns them where they take
        at most ``MEMORY_LIMIT`` bytes.

    Returns
    -------
    CACROutput
        ``loss``, ``attraction``, ``repulsion``, ``w_pos``, ``w_neg``.

    Raises
    ------
    ValueError
        As the two terms, and on an unknown ``choice``.

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> import torch
    >>> out = cacr_loss([torch.eye(2), torch.eye(2)])
    >>> out.attraction, out.repulsion
    (tensor(0.), tensor(-2.))
    """
    if choice not in CHOICES:
        raise ValueError(f"choice must be one of {', '.join(CHOICES)}; got {choice!r}")
    check_not_negative(t_pos=t_pos, t_neg=t_neg, alpha=alpha, beta=beta)
    if choice in ("none", "without_w1"):
        t_pos = 0.0
    if choice in ("none", "without_w2"):
        t_neg, tau_plus = 0.0, None
    z = checked_views(views, assume_normalized)
    attraction, w_pos = attraction_terms(z, t_pos, detach_weights)
    attraction = alpha * attraction
    repulsion = cacr_repulsion(
        z,
        t_neg=t_neg,
        beta=beta,
        detach_weights=detach_weights,
        symmetric=symmetric,
        cost=cost,
        rbf_t=rbf_t,
        tau_plus=tau_plus,
        debias=debias,
    )
    pairs = math.comb(len(z), 2) * (2 if symmetric else 1)
    w_neg = None
    if wants_weights(return_weights, pairs * z.shape[1] ** 2, z.element_size()):
        w_neg = _negative_weights(z.detach(), t_neg, symmetric)
    return CACROutput(attraction + repulsion, attraction, repulsion, w_pos, w_neg)
