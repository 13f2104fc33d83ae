"""Two other descriptions of a series: its Fourier coefficients and its wavelet scalogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from tacit.errors import ConfigError

SUPPORT = 8.0  # the mother wavelet is cut to [-8, 8]
PRECISION = 12  # and given at 2^12 points
CHUNK_BYTES = 2**27  # of complex coefficients in memory at a time


def default_scales() -> np.ndarray:
    """48 scales in samples, geometric from 1 to 128."""
    return np.geomspace(1, 128, 48)


def fourier_view(x: Float[Tensor, "*batch time"]) -> Complex[Tensor, "*batch freq"]:
    r"""Orthonormal Fourier coefficients of real series, for the frequencies 0 to T // 2.

    .. math:: X_k = T^{-1/2} \sum_t x_t e^{-2 \pi i k t / T}

    The map is an isometry (counting every frequency but 0 and, for even T, T/2 twice).

    Parameters
    ----------
    x : (..., T) real.

    Raises
    ------
    ValueError : no time step, or NaN or infinite values.

    Examples
    --------
    >>> fourier_view(torch.ones(1, 1, 4)).abs()
    tensor([[[2., 0., 0.]]])
    """
    _check(x)
    return torch.fft.rfft(x, norm="ortho")


def morlet_scalogram(
    x: Float[Tensor, "*batch time"],
    fs: float = 1.0,
    scales: Sequence[float] | np.ndarray | None = None,
    bandwidth: float = 1.0,
    center: float = 1.0,
) -> Float[Tensor, "*batch scale time"]:
    r"""Magnitude of the continuous wavelet transform with a complex Morlet wavelet.

    .. math:: \psi(t) = (\pi B)^{-1/2} e^{-t^2 / B} e^{2 \pi i C t}, \qquad
              |W_a(n)| = \sqrt a \, \Big| \sum_m x_m \, [J_a(n - m + 1) - J_a(n - m)] \Big|

    J_a is the conjugate running integral of psi on 2^12 points of [-8, 8], read at the points
    int(m / (a s)) (s their distance), reversed and centred. This is the transform of PyWavelets
    1.9 (``cwt`` with ``cmorB-C`` and precision 12), which differs from a sampled wavelet at scales
    below about 8. Outside the window the series counts as zero; the phase is dropped, so this view
    cannot be inverted. Half a millisecond a window of 200 samples: it is not worth keeping on disk.

    Parameters
    ----------
    x : (..., T) real, T >= 2.
    fs : sampling rate. The coefficients do not depend on it, because scales are in samples:
        row a is at the frequency C fs / a (`scalogram_frequencies`).
    scales : in samples, each at least 1/16; default 48 from 1 to 128, geometric.
    bandwidth, center : B and C of the wavelet.

    Raises
    ------
    ConfigError : a scale, bandwidth, centre or rate that is not positive.
    ValueError : fewer than two time steps, or NaN or infinite values.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025; Lee et al., "PyWavelets", 2019.

    Examples
    --------
    >>> x = torch.sin(2 * torch.pi * torch.arange(200.0) / 10)[None, None]  # period of 10 samples
    >>> w = morlet_scalogram(x, fs=25)
    >>> w.shape, float(default_scales()[w[0, 0, :, 100].argmax()].round(1))
    (torch.Size([1, 1, 48, 200]), 10.7)
    """
    _check(x)
    time = x.shape[-1]
    if time < 2:
        raise ValueError("a scalogram needs at least two time steps, got one")
    chosen = tuple(float(a) for a in (default_scales() if scales is None else scales))
    if not fs > 0 or not bandwidth > 0 or not center > 0:
        raise ConfigError(f"fs, bandwidth, center must be > 0: got {fs}, {bandwidth}, {center}")
    if not chosen or not min(chosen) >= 1 / 16:
        raise ConfigError(f"scales must be at least 1/16 sample, got {list(chosen)}")
    kernels = torch.from_numpy(_kernels(time, chosen, float(bandwidth), float(center)))
    kernels = kernels.to(
        x.device, torch.complex128 if x.dtype == torch.float64 else torch.complex64
    )
    length = kernels.shape[-1]
    rows = x.reshape(-1, time).to(kernels.real.dtype)
    step = max(1, CHUNK_BYTES // (len(chosen) * length * 16))
    parts = [
        torch.fft.ifft(torch.fft.fft(part, length)[:, None] * kernels)[..., :time].abs()
        for part in rows.split(step)
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out.view(*x.shape[:-1], len(chosen), time)


def scalogram_frequencies(
    fs: float, scales: Sequence[float] | np.ndarray | None = None, center: float = 1.0
) -> np.ndarray:
    """The frequency of every row of a scalogram, in the unit of `fs`.

    >>> scalogram_frequencies(25.0, [1, 5])
    array([25.,  5.])
    """
    return center * fs / np.asarray(default_scales() if scales is None else scales, float)


@lru_cache(maxsize=16)
def _kernels(time: int, scales: tuple[float, ...], bandwidth: float, center: float) -> np.ndarray:
    """Spectra (scales, L) of the kernels: only their taps that can reach a window of `time`.

    Output n is sum_m x_m h(n - m) with |n - m| < time, so a circular convolution of length
    L >= 2 time - 1 with h wrapped around is exact for every n.
    """
    t = np.linspace(-SUPPORT, SUPPORT, 2**PRECISION)
    psi = np.exp(2j * np.pi * center * t - t**2 / bandwidth) / math.sqrt(math.pi * bandwidth)
    distance = t[1] - t[0]
    integral = np.conj(np.cumsum(psi) * distance)
    lags = np.arange(-(time - 1), time)
    length = _fast_length(2 * time - 1)
    wrapped = np.zeros((len(scales), length), complex)
    for row, scale in zip(wrapped, scales):
        index = (np.arange(2 * SUPPORT * scale + 1) / (scale * distance)).astype(np.int64)
        kernel = integral[index[index < len(t)]][::-1]
        # The difference of a convolution is the convolution with the differences of the kernel.
        steps = np.diff(kernel, prepend=0, append=0)
        tap = lags + 1 + (len(kernel) - 2) // 2
        inside = (tap >= 0) & (tap < len(steps))
        row[lags[inside] % length] = -math.sqrt(scale) * steps[tap[inside]]
    return np.fft.fft(wrapped)


def _fast_length(length: int) -> int:
    """The smallest 2^a 3^b 5^c that is at least `length`.

    >>> _fast_length(397)
    400
    """
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def _check(x: Tensor) -> None:
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"a series needs a time axis with values, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"expected a real floating-point series, got {x.dtype}")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(
            f"{bad} of {x.numel()} values are NaN or infinite, and one spoils its whole spectrum; "
            "interpolate or drop them before"
        )
