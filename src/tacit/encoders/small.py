"""The small convolutional net that is the default on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tacit.encoders.base import Encoder, Features
from tacit.errors import ConfigError


class SmallConvNet(Encoder):
    """Three strided stages with one residual block; every stage is part of the pooled vector.

    Halving the image at once, in a 4x4 stem, and again before each later stage leaves few
    positions to compute on: 29 million multiply-adds for a 32-pixel image, 16 million for a
    24-pixel view, 0.7 million parameters. The pooled vector is

        [m_1 / ||m_1||, ..., m_S / ||m_S||],   m_s the mean over positions of stage s,

    because texture lives in the early stages and objects in the last one. Patches are the
    positions of the last stage, an eighth of the image with three stages; the earlier maps are
    averaged onto that grid, so that a patch has the width of the pooled vector.

    Parameters
    ----------
    in_channels, image_size : of the images; the size is only checked, any larger one works.
    widths : channels of each stage; `dim` is their sum.

    Raises
    ------
    ConfigError
        No stages, or an image without room for them.

    >>> import torch
    >>> net = SmallConvNet(in_channels=1, image_size=32)
    >>> features = net.features(torch.zeros(2, 1, 32, 32))
    >>> features.grid, tuple(features.pooled.shape), tuple(features.patches.shape)
    ((4, 4), (2, 448), (2, 16, 448))
    """

    def __init__(
        self, *, in_channels: int, image_size: int, widths: Sequence[int] = (64, 128, 256)
    ) -> None:
        super().__init__()
        smallest = 2 ** len(widths)
        if not widths or image_size < smallest:
            raise ConfigError(
                f"image_size={image_size} is too small for {len(widths)} stages; "
                f"the encoder 'small' needs at least {smallest} pixels"
            )
        self.in_channels, self.dim = in_channels, sum(widths)
        self.stages = nn.ModuleList()
        for index, width in enumerate(widths):
            channels, kernel = (widths[index - 1], 3) if index else (in_channels, 4)
            stage = [_convolution(channels, width, kernel, stride=2), nn.ReLU(inplace=True)]
            if index == 1:  # where a position is cheap and the map still has some
                stage.append(_Residual(width))
            self.stages.append(nn.Sequential(*stage))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Features:
        maps = self._maps(x)
        grid = (maps[-1].shape[2], maps[-1].shape[3])
        patches = torch.cat([F.adaptive_avg_pool2d(m, grid) for m in maps], dim=1)
        return Features(_pool(maps), patches.flatten(2).transpose(1, 2), grid)

    def forward(self, x: Tensor) -> Tensor:  # training does not need the patches
        return _pool(self._maps(x))

    def _maps(self, x: Tensor) -> list[Tensor]:
        self.check_images(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _pool(maps: list[Tensor]) -> Tensor:
    return torch.cat([F.normalize(m.mean(dim=(2, 3)), dim=1) for m in maps], dim=1)


class _Residual(nn.Module):
    """relu(x + f(x)), f two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(width, width, 3),
            nn.ReLU(inplace=True),
            _convolution(width, width, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def _convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=1, bias=False), nn.BatchNorm2d(width)
    )
