"""Images of another kind than the encoder was trained on."""

import numpy as np
import pytest

import tacit
from tacit.errors import DataError


def pixels(channels):
    return np.random.default_rng(0).integers(0, 256, (40, channels, 16, 16), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_read_in_colour_and_not_the_other_way(channels, tmp_path):
    run = tacit.pretrain(
        "simclr", pixels(channels), out=tmp_path / "run", encoder="small", steps=1, batch_size=8,
        progress=False,
    )  # fmt: skip
    grey = pixels(1)
    if channels == 3:
        assert np.array_equal(run.embed(grey), run.embed(grey.repeat(3, axis=1)))
        rows = run.evaluate("knn", data=(grey, np.arange(40) % 2))
        assert set(rows) == {"encoder", "untrained", "raw"}
    else:
        with pytest.raises(DataError, match=r"trained on 1\. Convert the images to grey"):
            run.embed(pixels(3))
