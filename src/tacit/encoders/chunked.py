"""Gradient caching: the loss sees a large batch, the encoder a small one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tacit.encoders.base import Encoder, Features
from tacit.errors import ConfigError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class _WholeEncoderError(ConfigError, AttributeError):
    """A part of the encoder that is not its features; `hasattr` stays false."""


class ChunkedEncoder(Encoder):
    """An encoder that keeps the activations of `size` samples, with the gradient of the batch.

    The batch is read in equal pieces of at most `size` samples. The first pass keeps the outputs;
    the backward pass computes one piece again at a time (Gao et al., 2021, "Scaling deep
    contrastive learning batch size under memory limited setup"). Memory is that of `size` samples
    and of the outputs; time is that of one more forward pass.

    Values and gradients equal those of the plain encoder on the whole batch, with dropout too: the
    second pass draws what the first drew. What batch norm changes: in training it normalises every
    piece by the piece's own statistics, so that values and gradients are exactly those of the
    pieces encoded one by one and joined, not those of one large batch. Its running averages see
    every piece once. Group and layer norm, and batch norm with frozen statistics, change nothing.

    Raises
    ------
    ConfigError
        If the input is not a tensor (a graph has no pieces), or if a method reads a part of the
        encoder other than its features, which would leave the pieces out.

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

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if hasattr(self._modules.get("encoder"), name):
                raise _WholeEncoderError(
                    f"this method reads '{name}' of its encoder, past the pieces of gradient "
                    "caching; leave out effective_batch and forward_batch"
                ) from None
            raise

    def features(self, x: Tensor) -> Features:
        if not isinstance(x, Tensor):
            raise ConfigError(
                f"gradient caching reads tensors in pieces, got {type(x).__name__}; leave out "
                "effective_batch and forward_batch"
            )
        # Equal pieces: batch norm cannot take a last piece of one sample.
        pieces = max(math.ceil(len(x) / self.size), 1)
        parts = [self._part(part) for part in x.tensor_split(pieces)]
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
