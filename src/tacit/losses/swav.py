"""SwAV: Sinkhorn codes and the swapped prediction loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, full_precision


@torch.no_grad()
@full_precision
def sinkhorn(
    scores: Float[Tensor, "batch prototypes"],
    *,
    iterations: int = 3,
    epsilon: float = 0.05,
    gather: bool = False,
) -> Float[Tensor, "batch prototypes"]:
    r"""Soft assignments of samples to prototypes that use all prototypes equally (Sinkhorn-Knopp).

    ``exp(scores / epsilon)`` is scaled, in turn, so that every prototype receives the same mass
    and every sample gives the same mass. Computed on logarithms, so nothing overflows. Each row of
    the result sums to 1. No gradient.

    Parameters
    ----------
    scores
        Similarities of samples and prototypes.
    iterations
        Number of scalings, at least 1.
    epsilon
        Entropy weight; small values give hard codes.
    gather
        Balance over the samples of all processes; the own rows are returned.

    References
    ----------
    Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments,
    2020, eq. 3-5.

    Examples
    --------
    >>> import torch
    >>> sinkhorn(torch.eye(2), epsilon=0.1).round(decimals=3)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_positive("epsilon", epsilon)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores must be (batch, prototypes), got {tuple(scores.shape)}")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores hold NaN or infinity; lower the learning rate or check the input")
    n, own = len(scores), 0
    if gather:
        from tacit.distributed import all_gather, count_rows

        rows = count_rows(n, scores.device)
        scores, own = all_gather(scores, rows), rows.first
    log_codes = scores / epsilon
    samples, prototypes = log_codes.shape
    for _ in range(iterations):
        log_codes = log_codes - torch.logsumexp(log_codes, 0, keepdim=True) - math.log(prototypes)
        log_codes = log_codes - torch.logsumexp(log_codes, 1, keepdim=True) - math.log(samples)
    return (log_codes[own : own + n] + math.log(samples)).exp()


@full_precision
def swav_loss(
    scores_list: Sequence[Float[Tensor, "batch prototypes"]],
    codes_list: Sequence[Float[Tensor, "batch prototypes"]],
    *,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Swapped prediction: every crop predicts the code of every global crop but itself.

    .. math:: \frac1G \sum_{i \le G} \frac1{V-1} \sum_{v \ne i}
              - \text{mean} \sum_c q_{ic} \log softmax(s_v / \tau)_c

    Parameters
    ----------
    scores_list
        Similarities to the prototypes of all V crops, the G global crops first.
    codes_list
        Codes of the G global crops (:func:`sinkhorn`); they get no gradient.

    References
    ----------
    Caron et al., 2020, eq. 2 and 6.

    Examples
    --------
    >>> import torch
    >>> scores = [torch.zeros(3, 4), torch.zeros(3, 4)]
    >>> swav_loss(scores, [sinkhorn(s) for s in scores])
    tensor(1.3863)
    """
    check_positive("temperature", temperature)
    if len(scores_list) < 2 or not 1 <= len(codes_list) <= len(scores_list):
        raise ValueError(
            "at least two crops and one code are needed, and codes belong to the first crops; got "
            f"{len(scores_list)} crops and {len(codes_list)} codes"
        )
    shape = scores_list[0].shape
    if any(t.shape != shape for t in (*scores_list, *codes_list)):
        shapes = sorted({tuple(t.shape) for t in (*scores_list, *codes_list)})
        raise ValueError(f"all scores and codes must have one shape, got {shapes}")
    log_p = [torch.log_softmax(s / temperature, dim=1) for s in scores_list]
    terms = [
        -(code.detach() * log_p[v]).sum(1).mean()
        for i, code in enumerate(codes_list)
        for v in range(len(log_p))
        if v != i
    ]
    return torch.stack(terms).mean()
