"""The deterministic view, and the checks that every view makes of its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError
from tacit.views.crop import centre_boxes, resample


class EvalView(nn.Module):
    """What evaluation sees: the central square, resized to ``image_size``, normalised.

    Parameters
    ----------
    image_size : side of the output, in pixels.
    mean, std : of each channel, in [0, 1] units.

    Examples
    --------
    >>> view = EvalView(8, [0.5], [0.5])
    >>> view(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)).unique().tolist()
    [1.0]
    """

    def __init__(self, image_size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if image_size < 1:
            raise ConfigError(f"image_size must be at least 1, got {image_size}")
        self.image_size = image_size
        scale, bias = normalisation(mean, std, len(mean), True)
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("bias", bias[:, None, None], persistent=False)
        self.scale: Tensor
        self.bias: Tensor

    def forward(self, images: Num[Tensor, "n c height width"]) -> Float[Tensor, "n c size size"]:
        check_images(images, len(self.scale))
        n, _, height, width = images.shape
        with torch.autocast(images.device.type, enabled=False):
            if (height, width) != (self.image_size, self.image_size):
                boxes = centre_boxes(n, height, width).to(images.device)
                images = resample(images, boxes, self.image_size)
            elif not images.is_floating_point():
                images = images.float().mul_(1 / 255)
            return images * self.scale.to(images) + self.bias.to(images)


def check_images(images: Tensor, channels: int) -> None:
    """Raise DataError unless images are uint8, or floating point in [0, 1], of a fitting shape."""
    if images.dim() != 4 or images.shape[1] != channels or min(images.shape) < 1:
        raise DataError(
            f"views need a batch of images (n, {channels}, height, width), none of them zero; "
            f"got {tuple(images.shape)}"
        )
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise DataError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}")
    low, high = (float(v) for v in images.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"floating-point images must be finite and in [0, 1], got values from {low:g} to "
            f"{high:g}; divide 8-bit values by 255, replace NaN before training"
        )


def normalisation(
    mean: Sequence[float], std: Sequence[float], channels: int, normalise: bool
) -> tuple[Tensor, Tensor]:
    """Scale and bias with ``(x - mean) / std = scale * x + bias``."""
    if len(mean) != channels or len(std) != channels or min(std, default=0) <= 0:
        raise ConfigError(
            f"mean and std need one number for each of the {channels} channels, and std > 0; "
            f"got mean {list(mean)}, std {list(std)}"
        )
    if not normalise:
        return torch.ones(channels), torch.zeros(channels)
    scale = 1 / torch.tensor(std, dtype=torch.float32)
    return scale, -torch.tensor(mean, dtype=torch.float32) * scale
