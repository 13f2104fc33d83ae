"""Latent mappers, and the encoder that reads the time axis and imitates two others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features
from tacit.encoders.series.base import SeriesEncoder
from tacit.errors import ConfigError


class LatentMapper(nn.Module):
    """A vector as a sequence of one channel: Conv(1 -> hidden, k 3, stride 2) ReLU, and back.

    Parameters
    ----------
    dim : width of the vectors, even (an odd one would come back one longer).
    hidden : channels between; 64 in pre-training, 1 for the mappers of the features.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, and its official code.

    Examples
    --------
    >>> mapper = LatentMapper(128, 64)
    >>> mapper(torch.zeros(2, 128)).shape, sum(p.numel() for p in mapper.parameters())
    (torch.Size([2, 128]), 449)
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        if dim < 2 or dim % 2 or hidden < 1:
            raise ConfigError(
                f"a LatentMapper needs an even dim (an odd one comes back one longer) and a "
                f"positive hidden width, got dim {dim}, hidden {hidden}"
            )
        self.dim = dim
        self.conv = nn.Conv1d(1, hidden, 3, 2, padding=1)
        self.deconv = nn.ConvTranspose1d(hidden, 1, 3, 2, padding=1, output_padding=1)

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected vectors (n, {self.dim}), got {tuple(x.shape)}")
        return self.deconv(F.relu(self.conv(x[:, None]))).squeeze(1)


class MappedEncoder(SeriesEncoder):
    """A time encoder h with latent mappers: features [map_F(h), h, map_W(h)], three times as wide.

    Only the time encoder reads the series; the mappers imitate what a Fourier and a wavelet
    encoder would say, once they are fitted (`fitted` is then true; before, they are random).

    Parameters
    ----------
    time : any encoder of series of even width D.
    length : time steps of the series it is used for; None where it does not matter.
    fourier, wavelet : whether there is this mapper; at least one.

    Examples
    --------
    >>> from tacit.encoders.series import ResNet1D
    >>> MappedEncoder(ResNet1D(1)).dim, MappedEncoder(ResNet1D(1), wavelet=False).dim
    (384, 256)
    """

    def __init__(
        self,
        time: Encoder,
        length: int | None = None,
        *,
        fourier: bool = True,
        wavelet: bool = True,
    ) -> None:
        super().__init__()
        if not fourier and not wavelet:
            raise ConfigError(
                "a MappedEncoder needs the Fourier mapper, the wavelet mapper or both"
            )
        self.time, self.length = time, length
        self.map_fourier = LatentMapper(time.dim, 1) if fourier else None
        self.map_wavelet = LatentMapper(time.dim, 1) if wavelet else None
        self.in_channels, self.dim = time.in_channels, (1 + fourier + wavelet) * time.dim
        self.register_buffer("fitted", torch.tensor(False))
        self.fitted: Tensor

    def mapped(self, h: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch wide"]:
        """The features of embeddings `h` of the time encoder."""
        parts = [self.map_fourier(h)] if self.map_fourier else []
        parts.append(h)
        return torch.cat(parts + ([self.map_wavelet(h)] if self.map_wavelet else []), 1)

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        out = self.time.features(x)
        return Features(self.mapped(out.pooled), out.patches, out.grid)
