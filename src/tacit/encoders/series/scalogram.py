"""The encoder of wavelet scalograms: a small 2-D network that keeps seeing its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder
from tacit.errors import ConfigError
from tacit.views.spectral import default_scales, morlet_scalogram


def _conv(dim: int, out_dim: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dim, out_dim, 5, stride, padding=2), nn.BatchNorm2d(out_dim), nn.ReLU()
    )


class ScalogramEncoder(SeriesEncoder):
    """Four convolutions over scale and time; the pooled input joins before the third and fourth.

    Parameters
    ----------
    in_channels : channels of the series.
    scales : rows of the scalogram, divisible by 4. Series are transformed with 48.
    length : time steps, divisible by 4 and at least 32.
    base : width of the first convolution; widths are 1, 2, 3 and 4 times it.
    out_dim : with a number, a Linear layer from 4 * base to it; None has none (the published one,
        128 with base 32). A cheap network for a CPU is base 8 with out_dim 128.

    Notes
    -----
    It reads scalograms (n, C, scales, T), or series (n, C, T), which it transforms itself
    (`morlet_scalogram`).

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, and its official code.

    Examples
    --------
    >>> encoder = ScalogramEncoder(1, 48, 200, base=8, out_dim=128).eval()
    >>> encoder(torch.zeros(2, 1, 48, 200)).shape
    torch.Size([2, 128])
    """

    def __init__(
        self,
        in_channels: int,
        scales: int,
        length: int,
        base: int = 32,
        *,
        out_dim: int | None = None,
    ) -> None:
        super().__init__()
        if in_channels < 1 or base < 1 or scales < 4 or scales % 4:
            raise ConfigError(
                f"a ScalogramEncoder needs channels and base >= 1, and scales divisible by 4; got "
                f"{in_channels}, {base}, {scales}"
            )
        if length < 32 or length % 4:
            raise ConfigError(
                f"a ScalogramEncoder needs a length >= 32 divisible by 4, got {length}; use a "
                f"window of {max(32, length - length % 4)} samples, or pad to "
                f"{max(32, length + -length % 4)} (#window= or #length= after the data)"
            )
        self.in_channels, self.scales, self.length = in_channels, scales, length
        self.layer1 = _conv(in_channels, base, 1)
        self.layer2 = _conv(base, 2 * base, 2)
        self.layer3 = _conv(2 * base + in_channels, 3 * base, 2)
        self.layer4 = _conv(3 * base + in_channels, 4 * base, 2)
        self.over_time = nn.Linear(-(-length // 8), 1)
        self.over_scale = nn.Linear(-(-scales // 8), 1)
        self.head = nn.Identity() if out_dim is None else nn.Linear(4 * base, out_dim)
        self.dim = 4 * base if out_dim is None else out_dim

    def features(self, x: Tensor) -> Features:
        if x.ndim != 4:
            self.check_series(x, self.length)
            if self.scales != len(default_scales()):
                raise ValueError(
                    f"series are transformed with {len(default_scales())} scales, this encoder has "
                    f"{self.scales}; pass it morlet_scalogram(x, fs, scales)"
                )
            x = morlet_scalogram(x)
        if x.shape[1:] != (self.in_channels, self.scales, self.length):
            raise ValueError(
                f"expected scalograms (n, {self.in_channels}, {self.scales}, {self.length}), got "
                f"{tuple(x.shape)}"
            )
        x = x.contiguous(memory_format=torch.channels_last)  # faster; the values are the same
        out = self.layer2(self.layer1(x))
        out = self.layer3(torch.cat([out, F.avg_pool2d(x, 2)], 1))
        out = self.layer4(torch.cat([out, F.avg_pool2d(x, 4)], 1))
        return Features(self.head(self.over_scale(self.over_time(out).squeeze(-1)).squeeze(-1)))
