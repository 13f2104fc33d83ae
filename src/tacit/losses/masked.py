"""Reconstruction of what was masked."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from ._common import full_precision


@full_precision
def masked_mse(
    pred: Float[Tensor, "*shape dim"],
    target: Float[Tensor, "*shape dim"],
    mask: Float[Tensor, "*shape"] | Bool[Tensor, "*shape"],
    norm_target: bool = False,
) -> Float[Tensor, ""]:
    r"""Squared error of the hidden tokens only, averaged over all of them in the batch.

    .. math:: R = \frac{\sum_i m_i \, \text{mean}_d (p_{id} - f_{id})^2}{\sum_i m_i}

    Parameters
    ----------
    pred, target
        Predicted and true tokens; the gradient flows into both, so detach a target that must not
        move.
    mask
        1 (or True) where a token was hidden.
    norm_target
        Standardise every target token over its features (unbiased variance + 1e-6), as MAE does
        with pixels.

    Raises
    ------
    ValueError
        Shapes differ, nothing is hidden, or one feature is to be standardised.

    References
    ----------
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022, section 3; Lee et al.,
    NeuroNet, 2024, whose targets are the embeddings of frames.

    Examples
    --------
    >>> import torch
    >>> pred, mask = torch.zeros(1, 2, 3), torch.tensor([[1.0, 0.0]])
    >>> masked_mse(pred, torch.tensor([[[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]]), mask)
    tensor(4.6667)
    """
    if pred.shape != target.shape or mask.shape != pred.shape[:-1]:
        raise ValueError(
            f"pred {tuple(pred.shape)}, target {tuple(target.shape)} and mask "
            f"{tuple(mask.shape)} must be (..., dim), (..., dim) and (...)"
        )
    hidden = mask.to(pred.dtype)
    count = hidden.sum()
    if not bool(count > 0):
        raise ValueError(
            "no token is masked, so there is nothing to reconstruct; use a larger mask ratio"
        )
    if norm_target:
        if target.shape[-1] < 2:
            raise ValueError("norm_target needs tokens of at least 2 features")
        mean = target.mean(-1, keepdim=True)
        target = (target - mean) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    return ((pred - target).square().mean(-1) * hidden).sum() / count
