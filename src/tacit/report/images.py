"""Images as data URIs, small enough that a page with a hundred of them stays light."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

LARGEST = 72  # pixels of the longer side


def png_uri(image: Tensor | np.ndarray, largest: int = LARGEST) -> str:
    """A PNG data URI of one image.

    Parameters
    ----------
    image : (C, H, W) uint8. One or two channels: the first as grey; more: the first three as red,
        green and blue.
    largest : longer images are scaled down to this side.

    >>> png_uri(np.zeros((1, 8, 8), np.uint8))[:22]
    'data:image/png;base64,'
    """
    array = np.asarray(image)
    picture = Image.fromarray(array[0] if len(array) < 3 else array[:3].transpose(1, 2, 0).copy())
    if max(picture.size) > largest:
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def to_uint8(views: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Normalised views (N, C, H, W) back to uint8 images.

    >>> import torch
    >>> to_uint8(torch.zeros(1, 1, 1, 1), [0.5], [0.2]).item()
    128
    """
    shape = (1, len(mean), 1, 1)
    images = views.float().cpu() * views.new_tensor(std, device="cpu").float().view(shape)
    images = images + views.new_tensor(mean, device="cpu").float().view(shape)
    return (images.clamp(0, 1) * 255).round().byte()
