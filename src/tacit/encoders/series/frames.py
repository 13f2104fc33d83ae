"""Overlapping frames of a series."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def frame_count(samples: int, window: int, step: int) -> int:
    """Complete frames in a series: floor((samples - window) / step) + 1, or 0.

    >>> frame_count(3000, 300, 37)
    73
    """
    return max(0, (samples - window) // step + 1)


def frame_sizes(fs: float, window_s: float, step_s: float) -> tuple[int, int]:
    """Samples of the window and of the step, truncated: 0.375 s at 100 Hz are 37 samples.

    Raises
    ------
    ValueError : the rate is not above 0, or one of them is shorter than a sample.

    >>> frame_sizes(100, 3, 0.375)
    (300, 37)
    """
    if not fs > 0:
        raise ValueError(f"the sampling rate must be above 0, got {fs}")
    window, step = int(window_s * fs), int(step_s * fs)
    if window < 1 or step < 1:
        raise ValueError(
            f"a window of {window_s} s and a step of {step_s} s at {fs:g} Hz are {window} and "
            f"{step} samples; both must be at least 1"
        )
    return window, step


def frame_signal(
    x: Float[Tensor, "batch time"], fs: float, window_s: float, step_s: float
) -> Float[Tensor, "batch frames window"]:
    """Overlapping frames at 0, step, 2 step, ... as long as they are complete.

    Parameters
    ----------
    x : (n, samples).
    fs : samples a second.
    window_s, step_s : seconds of a frame, and between starts of frames; both are truncated to
        samples.

    Raises
    ------
    ValueError : not two dimensions, a size below one sample, or a series shorter than the window.

    References
    ----------
    Lee et al., "NeuroNet", 2024: 3 s every 0.375 s at 100 Hz.

    Examples
    --------
    >>> import torch
    >>> frame_signal(torch.arange(10.0)[None], 1, 4, 3)
    tensor([[[0., 1., 2., 3.],
             [3., 4., 5., 6.],
             [6., 7., 8., 9.]]])
    """
    if x.ndim != 2:
        raise ValueError(f"expected series (n, samples), got shape {tuple(x.shape)}")
    window, step = frame_sizes(fs, window_s, step_s)
    if x.shape[1] < window:
        raise ValueError(
            f"a series of {x.shape[1]} samples is shorter than the window of {window} samples "
            f"({window_s} s at {fs:g} Hz); use longer series or a shorter window"
        )
    return x.unfold(1, window, step)
