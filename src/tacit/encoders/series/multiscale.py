"""Convolutions at three scales: over frames of a series, and over whole series."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder, time_features
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.errors import ConfigError

BRANCHES = {3: 16, 5: 11, 7: 6}  # kernel: window of the average pooling
WIDTHS, STRIDES = (32, 32, 48, 64), (1, 1, 2, 2)


def _conv_out(length: int, kernel: int, stride: int, padding: int) -> int:
    return (length + 2 * padding - kernel) // stride + 1


class ScaleBlock(nn.Module):
    """Conv BN ELU Conv BN + shortcut, ELU.

    The shortcut (1 x 1 convolution and batch norm where width or stride change) is cut at its end
    to the length of the convolutions' output: with the published padding of 1 for all kernels,
    wide ones shorten.
    """

    def __init__(self, dim: int, out_dim: int, kernel: int, stride: int, padding: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, out_dim, kernel, stride, padding=padding, bias=False)
        self.norm1 = PositionBatchNorm(out_dim)
        self.conv2 = nn.Conv1d(out_dim, out_dim, kernel, padding=padding, bias=False)
        self.norm2 = PositionBatchNorm(out_dim)
        self.shortcut: nn.Conv1d | None = None
        if stride != 1 or dim != out_dim:
            self.shortcut = nn.Conv1d(dim, out_dim, 1, stride, bias=False)
            self.shortcut_norm = PositionBatchNorm(out_dim)

    def out_length(self, length: int) -> int:
        """Steps that come out."""
        for conv in (self.conv1, self.conv2):
            length = _conv_out(length, conv.kernel_size[0], conv.stride[0], int(conv.padding[0]))
        return length

    def forward(self, x: Tensor, frames: int) -> Tensor:
        out = F.elu(self.norm1(self.conv1(x), frames), inplace=True)
        out = self.norm2(self.conv2(out), frames)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), frames)
        return F.elu(x[..., : out.shape[-1]] + out, inplace=True)


class ScaleBranch(nn.Module):
    """Four `ScaleBlock`s of one kernel, with widths 32, 32, 48, 64 and strides 1, 1, 2, 2."""

    def __init__(self, kernel: int, padding: int) -> None:
        super().__init__()
        sizes = zip((32, *WIDTHS[:-1]), WIDTHS, STRIDES, strict=True)
        self.blocks = nn.ModuleList(
            ScaleBlock(ins, outs, kernel, stride, padding) for ins, outs, stride in sizes
        )

    def out_length(self, length: int) -> int:
        """Steps that come out (0 or less: the input is too short)."""
        for block in self.blocks:
            length = block.out_length(length)  # type: ignore[operator]
        return length

    def forward(self, x: Tensor, frames: int) -> Tensor:
        for block in self.blocks:
            x = block(x, frames)
        return x


class MultiScaleTrunk(nn.Module):
    """Stem (Conv 7 / 2, BN, ELU, max-pool 3 / 2), then branches with kernels 3, 5 and 7.

    Parameters
    ----------
    in_channels : channels of the series.
    same : pad every branch by half its kernel, so that none shortens; published: all by 1.
    """

    def __init__(self, in_channels: int, *, same: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, 32, 7, 2, padding=3, bias=False)
        self.norm = PositionBatchNorm(32)
        self.branches = nn.ModuleList(
            ScaleBranch(kernel, kernel // 2 if same else 1) for kernel in BRANCHES
        )

    def out_lengths(self, length: int) -> list[int]:
        """Steps of the three branches for an input of `length` samples."""
        length = _conv_out(_conv_out(length, 7, 2, 3), 3, 2, 1)
        return [branch.out_length(length) for branch in self.branches]  # type: ignore[operator]

    def forward(self, x: Tensor, frames: int = 1) -> list[Tensor]:
        """(n * frames, C, T) -> three maps (n * frames, 64, steps)."""
        x = F.max_pool1d(F.elu(self.norm(self.conv(x), frames)), 3, 2, padding=1)
        return [branch(x, frames) for branch in self.branches]


class MultiScaleFrameCNN(nn.Module):
    """One vector a frame: three branches, average pooling, concatenated along time, two layers.

    Pooling has stride 1 and windows of 16, 11 and 6 steps; the pooled maps are flattened together
    to L values; Linear(L, L/2) ELU Linear(L/2, L/2). L is 512 for frames of 300 samples, 1,664 for
    400, 2,944 for 500. The network is shared by the frames; batch norm sees every position of a
    frame apart (`PositionBatchNorm`), as the official code does, which runs frame by frame.

    Parameters
    ----------
    frame_len : samples of a frame, at least 289.

    Attributes
    ----------
    flat_dim, dim : L, and the width of the output.

    Raises
    ------
    ConfigError : frames are too short for the pooling (the minimum is named).

    References
    ----------
    Lee et al., "NeuroNet", 2024, and its official code.

    Examples
    --------
    >>> cnn = MultiScaleFrameCNN(300)
    >>> cnn.flat_dim, cnn(torch.zeros(2, 4, 300)).shape
    (512, torch.Size([2, 4, 256]))
    """

    def __init__(self, frame_len: int) -> None:
        super().__init__()
        self.trunk = MultiScaleTrunk(1)
        if not self._fits(frame_len):
            least = next(n for n in range(1, 1000) if self._fits(n))
            raise ConfigError(
                f"a frame of {frame_len} samples is too short for the multi-scale network, which "
                f"needs at least {least}; take longer frames (window_s) or resample the series to "
                "a higher rate"
            )
        self.frame_len = frame_len
        self.flat_dim = 64 * sum(self._pooled(frame_len))
        self.dim = self.flat_dim // 2
        self.head = nn.Sequential(
            nn.Linear(self.flat_dim, self.dim), nn.ELU(), nn.Linear(self.dim, self.dim)
        )

    def _pooled(self, frame_len: int) -> list[int]:
        steps = self.trunk.out_lengths(frame_len)
        return [n - window + 1 for n, window in zip(steps, BRANCHES.values(), strict=True)]

    def _fits(self, frame_len: int) -> bool:
        return min(self._pooled(frame_len)) >= 1

    def forward(self, frames: Float[Tensor, "batch frames time"]) -> Float[Tensor, ...]:
        """Frames (n, m, frame_len) -> (n, m, dim), or (n, frame_len) -> (n, dim)."""
        if frames.ndim == 2:
            return self(frames[:, None])[:, 0]
        if frames.ndim != 3 or frames.shape[-1] != self.frame_len:
            raise ValueError(
                f"expected frames (n, frames, {self.frame_len}), got {tuple(frames.shape)}"
            )
        n, m = frames.shape[:2]
        maps = self.trunk(frames.reshape(n * m, 1, -1), m)
        pooled = [
            F.avg_pool1d(x, window, 1) for x, window in zip(maps, BRANCHES.values(), strict=True)
        ]
        return self.head(torch.cat(pooled, dim=-1).view(n, m, -1))


class MultiScaleCNN(SeriesEncoder):
    """The three branches over a whole series; each one's mean over time, side by side.

    Branches are padded by half their kernels, so series of any length can be read.

    Parameters
    ----------
    in_channels : channels of the series.

    References
    ----------
    The frame network of Lee et al., "NeuroNet", 2024, on whole series.

    Examples
    --------
    >>> MultiScaleCNN(3).features(torch.zeros(2, 3, 100)).patches.shape
    torch.Size([2, 7, 192])
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels < 1:
            raise ConfigError(f"in_channels must be positive, got {in_channels}")
        self.in_channels, self.dim = in_channels, WIDTHS[-1] * len(BRANCHES)
        self.trunk = MultiScaleTrunk(in_channels, same=True)

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        self.check_series(x)
        steps = torch.cat(self.trunk(x), dim=1)
        return time_features(steps, steps.mean(-1))
