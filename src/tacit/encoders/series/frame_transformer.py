"""The encoder of NeuroNet: frames, a multi-scale network over each, a transformer over them."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tacit.encoders.base import Features
from tacit.encoders.masked import TokenEncoder
from tacit.encoders.series.base import SeriesEncoder
from tacit.encoders.series.frames import frame_count, frame_signal, frame_sizes
from tacit.encoders.series.multiscale import MultiScaleFrameCNN
from tacit.errors import ConfigError


class FrameTransformer(SeriesEncoder):
    """Overlapping frames -> `MultiScaleFrameCNN` -> transformer with a class token.

    Parameters
    ----------
    in_channels : 1; the network is for a single channel.
    length : samples of a series.
    rate : samples a second.
    window_s, step_s : seconds of a frame, and from frame to frame.
    dim, heads, depth : of the transformer; 512, 8, 4 is NeuroNet-T, 768, 8, 4 NeuroNet-B.
    pool : "mean" of the frame tokens (as for fine-tuning) or the class token, "cls".

    Attributes
    ----------
    n_frames : frames of a series.

    Raises
    ------
    ConfigError : more than one channel, series with fewer than two frames, frames shorter than
        289 samples, or a size out of range.

    References
    ----------
    Lee et al., "NeuroNet: A Novel Hybrid Self-Supervised Learning Framework for Sleep Stage
    Classification Using Single-Channel EEG", 2024, and its official code.

    Examples
    --------
    >>> import torch
    >>> encoder = FrameTransformer(1, 900, step_s=1.5, dim=32, heads=4, depth=1)
    >>> encoder.features(torch.zeros(2, 1, 900)).patches.shape
    torch.Size([2, 5, 32])
    """

    def __init__(
        self,
        in_channels: int,
        length: int,
        *,
        rate: float = 100.0,
        window_s: float = 3.0,
        step_s: float = 0.375,
        dim: int = 512,
        heads: int = 8,
        depth: int = 4,
        pool: Literal["mean", "cls"] = "mean",
    ) -> None:
        super().__init__()
        if in_channels != 1:
            raise ConfigError(
                f"this network reads one channel, the series have {in_channels}; choose one "
                "channel of the data (edf: #channels=NAME)"
            )
        check_pool(pool)
        try:
            window, step = frame_sizes(rate, window_s, step_s)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        self.n_frames = frame_count(length, window, step)
        if self.n_frames < 2:
            raise ConfigError(
                f"series of {length} samples at {rate:g} Hz have {self.n_frames} frames of "
                f"{window} samples every {step}; at least 2 are needed: use longer series, a "
                "shorter window_s or a smaller step_s (--set encoder.window_s=SECONDS), or say "
                "what the rate is (#rate=HZ)"
            )
        self.in_channels, self.dim, self.length, self.pool = 1, dim, length, pool
        self.rate, self.window_s, self.step_s = rate, window_s, step_s
        self.cnn = MultiScaleFrameCNN(window)
        self.tokens = TokenEncoder(self.cnn.dim, self.n_frames, dim, heads, depth)

    def frames(self, x: Float[Tensor, "batch 1 time"]) -> Float[Tensor, "batch frames p"]:
        """The frames' vectors before the transformer: what pre-training hides and predicts."""
        self.check_series(x, self.length)
        return self.cnn(frame_signal(x[:, 0], self.rate, self.window_s, self.step_s))

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        latent = self.tokens(self.frames(x))
        return Features(pool_tokens(latent, self.pool), latent[:, 1:], (self.n_frames,))


def check_pool(pool: str) -> None:
    """Raise ConfigError unless `pool` is "mean" or "cls"."""
    if pool not in ("mean", "cls"):
        raise ConfigError(f"pool must be 'mean' (of the frames) or 'cls', got {pool!r}")


def pool_tokens(latent: Float[Tensor, "batch tokens dim"], pool: str) -> Float[Tensor, "batch dim"]:
    """The class token (in front), or the mean of the others."""
    return latent[:, 0] if pool == "cls" else latent[:, 1:].mean(dim=1)
