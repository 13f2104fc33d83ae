"""A dilated convolutional network for series."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder, time_features
from tacit.errors import ConfigError


class DilatedBlock(nn.Module):
    """GELU Conv GELU Conv with one dilation, added to the input; the length is kept."""

    def __init__(self, dim: int, out_dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, out_dim, kernel, dilation=dilation, padding="same")
        self.conv2 = nn.Conv1d(out_dim, out_dim, kernel, dilation=dilation, padding="same")
        self.shortcut = nn.Identity() if dim == out_dim else nn.Conv1d(dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.gelu(self.conv1(F.gelu(x))))
        return out + self.shortcut(x)


class TCN(SeriesEncoder):
    """Residual blocks of convolutions whose dilation doubles from block to block.

    A point-wise input layer, `depth` blocks of width `hidden` with dilations 1, 2, 4 ..., one more
    to `out_dim`; the maximum over time. Every time step has a feature that sees
    1 + 2 (kernel - 1) (2^(depth + 1) - 1) steps around it.

    Parameters
    ----------
    in_channels : channels of the series.
    out_dim, hidden : widths of the output and of the blocks.
    depth : blocks of width `hidden`.
    kernel : width of the convolutions, odd.

    References
    ----------
    Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
    Sequence Modeling", 2018; not causal, as in Yue et al., "TS2Vec", AAAI 2022.

    Examples
    --------
    >>> import torch
    >>> TCN(3, depth=4).features(torch.zeros(2, 3, 50)).patches.shape
    torch.Size([2, 50, 128])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_dim: int = 128,
        hidden: int = 64,
        depth: int = 6,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if min(in_channels, out_dim, hidden, depth) < 1 or kernel < 1 or kernel % 2 == 0:
            raise ConfigError(
                f"a TCN needs positive widths and depth and an odd kernel, got channels "
                f"{in_channels}, out_dim {out_dim}, hidden {hidden}, depth {depth}, kernel {kernel}"
            )
        self.in_channels, self.dim = in_channels, out_dim
        self.stem = nn.Conv1d(in_channels, hidden, 1)
        widths = [hidden] * depth + [out_dim]
        self.blocks = nn.Sequential(
            *(DilatedBlock(hidden, width, kernel, 2**i) for i, width in enumerate(widths))
        )

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        self.check_series(x)
        steps = self.blocks(self.stem(x))
        return time_features(steps, steps.amax(-1))
