"""Residual networks, with the stems that small images need and torchvision's weight names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features, map_features
from tacit.errors import ConfigError

Stem = Literal["auto", "imagenet", "cifar", "cifar-pool"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times the width out (He et al. 2016, figure 5 right).

    The stride sits in the 3x3 convolution (ResNet "v1.5"), as in torchvision and in the
    published self-supervised ResNet-50 results.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity, or a projection where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


def choose_stem(stem: Stem, image_size: int) -> Stem:
    """The stem for an image size when the user leaves it to us.

    Up to 48 pixels "cifar", up to 96 "cifar-pool" (what the published recipes for Tiny-ImageNet
    at 64 pixels use), above it "imagenet". Each keeps the last map at 3x3 positions or more.

    >>> choose_stem("auto", 32), choose_stem("auto", 64), choose_stem("auto", 224)
    ('cifar', 'cifar-pool', 'imagenet')
    """
    if stem != "auto":
        return stem
    if image_size <= 48:
        return "cifar"
    return "cifar-pool" if image_size <= 96 else "imagenet"


class ResNet(Encoder):
    """ResNet without the classifier: `pooled` is the mean of the last map, `patches` its positions.

    Names of weights are torchvision's (`conv1`, `bn1`, `layer1.0.conv1`, `layer2.0.downsample.0`),
    so `encoder.load_state_dict(weights, strict=False)` reads a torchvision checkpoint.

    Parameters
    ----------
    block : BasicBlock or Bottleneck.
    depths : number of blocks in each of the four stages.
    in_channels, image_size : of the images; the size is only used by `stem="auto"`.
    stem : "imagenet" (7x7 stride 2 and max-pool), "cifar" (3x3 stride 1), "cifar-pool" (3x3
        stride 1 and max-pool) or "auto" (see `choose_stem`).
    zero_init_residual : start each residual branch at zero (Goyal et al. 2017).

    References
    ----------
    He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    SimCLR (Chen et al. 2020), appendix B.9, for the CIFAR stem.

    >>> import torch
    >>> net = ResNet(BasicBlock, (2, 2, 2, 2), in_channels=3, image_size=32)
    >>> net.features(torch.zeros(1, 3, 32, 32)).patches.shape
    torch.Size([1, 16, 512])
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        in_channels: int,
        image_size: int,
        stem: Stem = "auto",
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = choose_stem(stem, image_size)
        if self.stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        elif self.stem in ("cifar", "cifar-pool"):
            self.conv1 = conv3x3(in_channels, 64)
        else:
            raise ConfigError(
                f"unknown stem '{stem}'; use 'auto', 'imagenet', 'cifar' or 'cifar-pool'"
            )
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity()
        if self.stem != "cifar":
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        stages = []
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                width = 64 * 2**stage
                blocks.append(block(channels, width, stride))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dim = channels
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(module.last_norm.weight)

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return map_features(x)
