"""Mixing of samples: convex combinations of two views."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mixup_views(
    x1: Tensor,
    x2: Tensor,
    *,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    r"""Mix one view with the other, shuffled: :math:`\lambda x_1 + (1 - \lambda) x_2[\pi]`.

    Parameters
    ----------
    x1, x2
        Two views, floating point, of the same shape with the batch first.
    alpha
        One weight :math:`\lambda` for the batch is drawn from Beta(alpha, alpha); 1 is uniform.
    generator
        Source of the weight and of the permutation. In distributed training give every process the
        same state, so that they draw the same weight. Default: torch's global generator.

    Returns
    -------
    xm, perm, lam
        The mixture, the permutation (batch,) and the weight.

    Raises
    ------
    ValueError
        On inputs that cannot be mixed linearly (integers, such as tokens), different shapes, or
        ``alpha`` not above 0.

    References
    ----------
    Bandara, De Melo, Patel, Guarding Barlow Twins Against Overfitting with Mixed Samples, 2023.

    Examples
    --------
    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> xm, perm, lam = mixup_views(torch.zeros(4, 3), torch.ones(4, 3), generator=g)
    >>> torch.allclose(xm, torch.full((4, 3), 1 - lam))
    True
    """
    if x1.shape != x2.shape or x1.ndim < 1:
        raise ValueError(f"views must have one shape, got {tuple(x1.shape)} and {tuple(x2.shape)}")
    if not (x1.is_floating_point() and x2.is_floating_point()):
        raise ValueError(
            f"views of type {x1.dtype} cannot be mixed linearly; convert images to floats, or mix "
            "the embeddings of tokens and graphs"
        )
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    device = generator.device if generator is not None else torch.device("cpu")
    # torch draws no Beta from an explicit generator: it seeds numpy's instead.
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    lam = float(np.random.default_rng(seed).beta(alpha, alpha))
    perm = torch.randperm(len(x1), generator=generator, device=device).to(x1.device)
    return lam * x1 + (1 - lam) * x2[perm], perm, lam
