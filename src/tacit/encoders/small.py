"""The small convolutional net that is the default on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features, map_features
from tacit.errors import ConfigError


class SmallConvNet(Encoder):
    """Four stages of 3x3 convolution, batch norm and ReLU with max-pooling between them.

    About 15 million multiply-adds for a 32-pixel image and 0.4 million parameters, so that a
    laptop CPU trains on thousands of images a second. Any image of 8 pixels or more works; the
    last map is an eighth of the image.

    Parameters
    ----------
    in_channels, image_size : of the images; the size is only checked.
    widths : channels of each stage; `dim` is the last.

    >>> import torch
    >>> net = SmallConvNet(in_channels=1, image_size=32)
    >>> net.features(torch.zeros(2, 1, 32, 32)).grid
    (4, 4)
    """

    def __init__(
        self, *, in_channels: int, image_size: int, widths: Sequence[int] = (32, 64, 128, 256)
    ) -> None:
        super().__init__()
        smallest = 2 ** (len(widths) - 1)
        if not widths or image_size < smallest:
            raise ConfigError(
                f"image_size={image_size} is too small for {len(widths)} stages; "
                f"the encoder 'small' needs at least {smallest} pixels"
            )
        self.in_channels, self.dim = in_channels, widths[-1]
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            channels = widths[index - 1] if index > 0 else in_channels
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        return map_features(self.layers(x))
