"""Random masking of tokens: what masked autoencoders hide, and how the order is restored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Masked(NamedTuple):
    """Tokens after masking.

    Attributes
    ----------
    visible : (n, kept, dim) the visible tokens, in the order of their noise.
    mask : (n, length) 1 where a token is hidden, 0 where it is visible.
    ids_restore : (n, length) the place of every token in [visible, hidden].
    """

    visible: Float[Tensor, "batch kept dim"]
    mask: Float[Tensor, "batch length"]
    ids_restore: Int[Tensor, "batch length"]


def visible_count(length: int, ratio: float) -> int:
    """Tokens that stay visible: int(length (1 - ratio)), truncated as in the official MAE.

    Raises
    ------
    ValueError : `ratio` is outside [0, 1), or hides every token.

    >>> visible_count(73, 0.8), visible_count(13, 0.75)
    (14, 3)
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"the mask ratio must be in [0, 1), got {ratio}")
    kept = int(length * (1 - ratio))
    if kept == 0:
        raise ValueError(
            f"a mask ratio of {ratio} hides all of {length} tokens; use a smaller ratio or more "
            "tokens"
        )
    return kept


def random_masking(
    tokens: Float[Tensor, "batch length dim"],
    ratio: float,
    noise: Float[Tensor, "batch length"] | torch.Generator | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Masked:
    """Hide a random part of the tokens of every sample, each sample with its own mask.

    The `visible_count` tokens with the smallest noise stay.

    Parameters
    ----------
    tokens : (n, length, dim).
    ratio : share of hidden tokens, in [0, 1).
    noise : (n, length) numbers that decide; None draws them uniformly. A generator is accepted.
    generator : of the noise; None draws from torch's global generator.

    Raises
    ------
    ValueError : the ratio is out of range or hides everything, or shapes differ.

    References
    ----------
    He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022.

    >>> tokens = torch.arange(4.0).view(1, 4, 1)
    >>> masked = random_masking(tokens, 0.5, torch.tensor([[0.9, 0.1, 0.4, 0.8]]))
    >>> masked.visible.flatten(), masked.mask
    (tensor([1., 2.]), tensor([[1., 0., 0., 1.]]))
    """
    if tokens.ndim != 3:
        raise ValueError(f"expected tokens (n, length, dim), got shape {tuple(tokens.shape)}")
    n, length, _ = tokens.shape
    kept = visible_count(length, ratio)
    if isinstance(noise, torch.Generator):
        noise, generator = None, noise
    if noise is None:
        device = tokens.device if generator is None else generator.device
        noise = torch.rand(n, length, generator=generator, device=device)
    if noise.shape != (n, length):
        raise ValueError(f"noise must be ({n}, {length}), got {tuple(noise.shape)}")
    order = noise.to(tokens.device).argsort(dim=1)
    ids_restore = order.argsort(dim=1)
    visible = tokens.gather(1, order[:, :kept, None].expand(-1, -1, tokens.shape[2]))
    return Masked(visible, (ids_restore >= kept).to(tokens.dtype), ids_restore)


def restore_tokens(
    visible: Float[Tensor, "batch kept dim"],
    mask_token: Float[Tensor, ...],
    ids_restore: Int[Tensor, "batch length"],
) -> Float[Tensor, "batch length dim"]:
    """Visible tokens back in their places, copies of `mask_token` (..., dim) in the others.

    >>> tokens = torch.arange(1.0, 5).view(1, 4, 1)
    >>> masked = random_masking(tokens, 0.5, torch.tensor([[0.9, 0.1, 0.4, 0.8]]))
    >>> restore_tokens(masked.visible, torch.zeros(1), masked.ids_restore).flatten()
    tensor([0., 2., 3., 0.])
    """
    n, kept, dim = visible.shape
    hidden = mask_token.reshape(1, 1, dim).expand(n, ids_restore.shape[1] - kept, dim)
    both = torch.cat([visible, hidden.to(visible.dtype)], dim=1)
    return both.gather(1, ids_restore[:, :, None].expand(-1, -1, dim))
