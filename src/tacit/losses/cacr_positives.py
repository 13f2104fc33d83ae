"""Contrastive attraction: the part of CACR that is about the positives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._cacr import check_not_negative, checked_views, positive_costs
from ._common import full_precision
from ._views import MultiViews


def attraction_terms(z: Tensor, t_pos: float, detach: bool) -> tuple[Tensor, Tensor]:
    """The mean of the weighted costs of the positives, and the weights."""
    cost = positive_costs(z, z)
    weights = torch.softmax(t_pos * cost, dim=2)
    return ((weights.detach() if detach else weights) * cost).sum(2).mean(), weights.detach()


@full_precision
def cacr_attraction(
    views: MultiViews,
    *,
    t_pos: float = 1.0,
    alpha: float = 1.0,
    detach_weights: bool = False,
    cost: str = "sqeuclidean",
    assume_normalized: bool = False,
) -> Float[Tensor, ""]:
    r"""Contrastive attraction: the far positives of a query are pulled hardest.

    .. math:: A = \frac{\alpha}{V N} \sum_{x,i} \sum_{y \ne x} w^+_{xyi} c(z_{xi}, z_{yi}), \qquad
              w^+ = \mathrm{softmax}_y(t^+ c), \quad c(a, b) = \lVert a - b \rVert^2

    Every view is the query in turn; the gradient flows through the weights too.

    Parameters
    ----------
    views
        (V, N, d) tensor or a list of V tensors (N, d), unit rows. They are used as they are.
    t_pos
        Inverse temperature of the positives' weights; 0 weights them equally.
    alpha
        Scale of the term (not of the weights' logits); 0 drops it.
    detach_weights
        Treat the weights as constants.
    cost
        Only ``"sqeuclidean"`` is defined for the attraction.
    assume_normalized
        Raise if a row is not a unit vector.

    Returns
    -------
    Tensor
        Scalar in [0, 4 alpha] for unit vectors.

    Raises
    ------
    ValueError
        On fewer than two views or instances, views of different shape, NaN, negative
        ``t_pos`` or ``alpha``.

    References
    ----------
    Zheng et al., Contrastive Attraction and Contrastive Repulsion for Representation Learning,
    TMLR 2023.

    Examples
    --------
    >>> import torch
    >>> cacr_attraction([torch.eye(2), torch.eye(2).flip(0)])
    tensor(2.)
    """
    check_not_negative(t_pos=t_pos, alpha=alpha)
    if cost != "sqeuclidean":
        raise ValueError(f"cost of the attraction must be 'sqeuclidean', got {cost!r}")
    return (
        alpha * attraction_terms(checked_views(views, assume_normalized), t_pos, detach_weights)[0]
    )
