"""The pre-activation residual network for time series of Frame Projections."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder, time_features
from tacit.errors import ConfigError


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros on both sides of the time axis so that a convolution gives ceil(T / stride) steps.

    The odd one of them is at the end, as in TensorFlow.

    >>> import torch
    >>> pad_same(torch.ones(1, 1, 4), kernel=5, stride=2).shape  # one before, two after
    torch.Size([1, 1, 7])
    """
    length = x.shape[-1]
    total = max(0, (-(-length // stride) - 1) * stride + kernel - length)
    return F.pad(x, (total // 2, total - total // 2))


class SameConv1d(nn.Conv1d):
    """Convolution with `pad_same` in front of it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


class PreActBlock(nn.Module):
    """[BN ReLU Dropout] Conv BN ReLU Dropout Conv, added to the input.

    Where the block strides, the input is max-pooled (a last odd step together with a zero); where
    it widens, the new channels of the input are zeros, half of them before and half after.

    Parameters
    ----------
    dim, out_dim : input and output channels.
    kernel, stride : of the first convolution; the second has stride 1.
    lead : whether the block begins with the bracket.
    norm : whether there is batch norm.
    dropout : None for no dropout.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        *,
        kernel: int,
        stride: int = 1,
        lead: bool = True,
        norm: bool = True,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.extra = stride, out_dim - dim

        def activation(width: int) -> nn.Sequential:
            layers: list[nn.Module] = [nn.BatchNorm1d(width)] if norm else []
            layers.append(nn.ReLU())
            if dropout is not None:
                layers.append(nn.Dropout(dropout))
            return nn.Sequential(*layers)

        self.lead = activation(dim) if lead else nn.Identity()
        self.conv1 = SameConv1d(dim, out_dim, kernel, stride)
        self.middle = activation(out_dim)
        self.conv2 = SameConv1d(out_dim, out_dim, kernel)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.middle(self.conv1(self.lead(x))))
        if self.stride > 1:
            x = F.max_pool1d(F.pad(x, (0, -x.shape[-1] % self.stride)), self.stride)
        if self.extra:
            before = self.extra // 2
            x = F.pad(x, (0, 0, before, self.extra - before))
        return out + x


class ResNet1D(SeriesEncoder):
    """Pre-activation residual network for series of any length.

    Conv BN ReLU, then `blocks` blocks: every second one halves the time axis, every fourth one
    (but the first) doubles the width; BN ReLU, mean over time, Linear.

    Parameters
    ----------
    in_channels : channels of the series.
    out_dim : width of the output.
    base : width of the first blocks.
    blocks, kernel, dropout : number of blocks, their kernel width and dropout.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, and its official code.

    Examples
    --------
    >>> import torch
    >>> ResNet1D(1)(torch.zeros(2, 1, 200)).shape
    torch.Size([2, 128])
    """

    def __init__(
        self,
        in_channels: int,
        out_dim: int = 128,
        base: int = 32,
        blocks: int = 8,
        kernel: int = 5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(in_channels, out_dim, base, blocks, kernel) < 1:
            raise ConfigError("channels, widths, blocks and kernel of a ResNet1D must be positive")
        self.in_channels, self.dim = in_channels, out_dim
        widths = [base * 2 ** (i // 4) for i in range(blocks)]
        self.stem = nn.Sequential(
            SameConv1d(in_channels, base, kernel), nn.BatchNorm1d(base), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            *(
                PreActBlock(
                    widths[max(i - 1, 0)],
                    width,
                    kernel=kernel,
                    stride=1 + i % 2,
                    lead=i > 0,
                    dropout=dropout,
                )
                for i, width in enumerate(widths)
            )
        )
        self.norm = nn.Sequential(nn.BatchNorm1d(widths[-1]), nn.ReLU())
        self.head = nn.Linear(widths[-1], out_dim)

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        self.check_series(x)
        steps = self.norm(self.blocks(self.stem(x)))
        return time_features(steps, self.head(steps.mean(-1)))
