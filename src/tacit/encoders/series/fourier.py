"""The encoder of Fourier coefficients: amplitude and phase, each in a branch of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder
from tacit.encoders.series.resnet import PreActBlock
from tacit.errors import ConfigError
from tacit.views.spectral import fourier_view

TINY = 1e-6  # below this magnitude a coefficient has no phase that is worth reading


class _Branch(nn.Sequential):
    """Conv ReLU, two residual blocks that halve the axis, Linear over what remains of it."""

    def __init__(self, in_channels: int, freqs: int, base: int) -> None:
        super().__init__(
            nn.Conv1d(in_channels, base, 3, padding=1),
            nn.ReLU(),
            PreActBlock(base, 2 * base, kernel=3, stride=2, lead=False, norm=False),
            PreActBlock(2 * base, 4 * base, kernel=3, stride=2, norm=False),
            nn.Linear((freqs + 3) // 4, 1),
            nn.Flatten(1),
        )


class FourierEncoder(SeriesEncoder):
    """Encoder of the Fourier coefficients of a series, by their amplitudes and by their phases.

    Parameters
    ----------
    in_channels : channels of the series.
    length : time steps of the series, T.
    base : width of the first convolution; the output has 8 * base features, 128.

    Notes
    -----
    It reads complex coefficients (n, C, T // 2 + 1), or real series (n, C, T), which it transforms
    itself. The phase of a coefficient below 1e-6 is taken as 0: there it is noise.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, and its official code.

    Examples
    --------
    >>> encoder = FourierEncoder(1, 200).eval()
    >>> x = torch.randn(2, 1, 200)
    >>> torch.equal(encoder(x), encoder(fourier_view(x))), encoder.dim
    (True, 128)
    """

    def __init__(self, in_channels: int, length: int, *, base: int = 16) -> None:
        super().__init__()
        if in_channels < 1 or base < 1 or length < 2:
            raise ConfigError(
                f"a FourierEncoder needs channels and base >= 1 and length >= 2, got "
                f"{in_channels}, {base}, {length}"
            )
        self.in_channels, self.length, self.dim = in_channels, length, 8 * base
        freqs = length // 2 + 1
        self.amplitude = _Branch(in_channels, freqs, base)
        self.phase = _Branch(in_channels, freqs, base)

    def features(self, x: Tensor) -> Features:
        if not x.is_complex():
            self.check_series(x, self.length)
            x = fourier_view(x)
        elif x.shape[1:] != (self.in_channels, self.length // 2 + 1):
            raise ValueError(
                f"expected coefficients (n, {self.in_channels}, {self.length // 2 + 1}) of series "
                f"of {self.length} samples, got {tuple(x.shape)}"
            )
        amplitude = x.abs()
        phase = torch.where(amplitude > TINY, x.angle(), 0.0)
        return Features(torch.cat([self.amplitude(amplitude), self.phase(phase)], 1))
