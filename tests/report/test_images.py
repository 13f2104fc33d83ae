import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tacit.report.images import LARGEST, png_uri, to_uint8
from tacit.views import EvalView


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (5, "RGB")])
def test_pixels_survive(channels, mode):
    image = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), np.uint8)
    picture = decode(png_uri(image))
    assert picture.mode == mode
    found = np.asarray(picture)
    assert np.array_equal(found, image[0] if mode == "L" else image[:3].transpose(1, 2, 0))


def test_large_images_become_thumbnails():
    picture = decode(png_uri(torch.zeros(3, 500, 250, dtype=torch.uint8)))
    assert picture.size == (LARGEST // 2, LARGEST)


def test_normalising_is_undone():
    images = torch.arange(2 * 3 * 4 * 4).remainder(256).byte().view(2, 3, 4, 4)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    view = EvalView(image_size=4, mean=mean, std=std)
    assert torch.equal(to_uint8(view(images), mean, std), images)
