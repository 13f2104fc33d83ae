"""SmallAlexNet, the small-image network of the alignment-uniformity and CACR experiments."""

from __future__ import annotations

from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features
from tacit.errors import ConfigError


def pooled_size(size: int) -> int:
    """Side of the map after one 3x3 max-pool of stride 2 without padding."""
    return (size - 3) // 2 + 1


class SmallAlexNet(Encoder):
    """Five 3x3 convolutions (96-192-384-384-192) and two fully connected layers of 4096.

    Batch norm and ReLU follow every layer; max-pooling (3, stride 2) follows convolutions 1, 2
    and 5. `pooled` is the second 4096-wide layer, on which the papers probe; their last layer,
    Linear(4096, 128) with bias, is the projector: `MLPHead((4096, 128), init_std=0.02)`. There are
    no patch features, because the fully connected layers mix all positions.

    Parameters
    ----------
    in_channels, image_size : of the images; the network reads this one size (at least 16).
    hidden : width of the two fully connected layers.

    References
    ----------
    Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere", ICML 2020, appendix B; Zheng et al. (CACR), TMLR 2023,
    small-scale experiments. Weights start at N(0, 0.02), biases at 0.

    >>> SmallAlexNet(in_channels=3, image_size=32).fc[1].in_features  # 192 maps of 3 x 3
    1728
    """

    def __init__(self, *, in_channels: int, image_size: int, hidden: int = 4096) -> None:
        super().__init__()
        side = pooled_size(pooled_size(pooled_size(image_size)))
        if side < 1:
            raise ConfigError(
                f"image_size={image_size} is too small for 'smallalexnet'; it needs 15 or more"
            )
        self.in_channels, self.image_size, self.dim = in_channels, image_size, hidden
        widths = (in_channels, 96, 192, 384, 384, 192)
        layers: list[nn.Module] = []
        for index in range(1, len(widths)):
            layers += [
                nn.Conv2d(widths[index - 1], widths[index], 3, padding=1, bias=False),
                nn.BatchNorm2d(widths[index]),
                nn.ReLU(inplace=True),
            ]
            if index in (1, 2, 5):
                layers.append(nn.MaxPool2d(3, stride=2))
        self.convolutions = nn.Sequential(*layers)
        fully: list[nn.Module] = [nn.Flatten()]
        for width in (widths[-1] * side * side, hidden):
            fully += [
                nn.Linear(width, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
            ]
        self.fc = nn.Sequential(*fully)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        if tuple(x.shape[2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f"'smallalexnet' was built for {self.image_size}-pixel images, got "
                f"{tuple(x.shape[2:])}; its fully connected layers read one size only"
            )
        return Features(self.fc(self.convolutions(x)))
