"""Losses: pure functions of tensors, one file a family, all exported flat."""

from .tiled import MEMORY_LIMIT, pairwise_logsumexp, pairwise_softmax_mean

__all__ = [
    "MEMORY_LIMIT",
    "pairwise_logsumexp",
    "pairwise_softmax_mean",
]
