"""Gradient caching: the loss sees a large batch, the encoder a small one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tacit.encoders.base import Encoder, Features

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class ChunkedEncoder(Encoder):
    """An encoder that keeps the activations of `size` samples, with the gradient of the batch.

    The first pass keeps the outputs; the backward pass computes one piece again at a time (Gao et
    al., 2021, "Scaling deep contrastive learning batch size under memory limited setup"). Memory is
    that of `size` samples and of the outputs; time is that of one more forward pass.

    Values and gradients equal those of the plain encoder, random layers included. Batch norm is the
    exception: it normalises every piece by the piece's own statistics.

    >>> from tacit.encoders import build_encoder
    >>> plain = build_encoder("vit_ti", in_channels=1, image_size=16, depth=1)
    >>> x = torch.randn(6, 1, 16, 16)
    >>> torch.allclose(ChunkedEncoder(plain, 4)(x), plain(x), atol=1e-5)
    True
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size
        self.dim, self.in_channels = encoder.dim, encoder.in_channels

    def features(self, x: Tensor) -> Features:
        parts = [self._part(part) for part in x.split(self.size)]
        if parts[0].patches is None:
            return Features(torch.cat([part.pooled for part in parts]))
        return Features(
            torch.cat([part.pooled for part in parts]),
            torch.cat([part.patches for part in parts if part.patches is not None]),
            parts[0].grid,
        )

    def _part(self, x: Tensor) -> Features:
        if not torch.is_grad_enabled():
            return self.encoder.features(x)
        found: Features = checkpoint(
            self.encoder.features, x, use_reentrant=False, context_fn=self._contexts
        )
        return found

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._frozen_statistics()

    @contextmanager
    def _frozen_statistics(self) -> Iterator[None]:
        """The second pass over the same samples must not count in batch norm's running averages."""
        norms = [m for m in self.encoder.modules() if isinstance(m, _NORMS)]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(norms, before):
                norm.momentum, norm.num_batches_tracked = momentum, count


def plain(encoder: Encoder) -> Encoder:
    """The encoder itself, without the pieces."""
    return encoder.encoder if isinstance(encoder, ChunkedEncoder) else encoder
