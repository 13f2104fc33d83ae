"""Pictures of samples: what is drawn is what was given."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tacit.errors import TacitError
from tacit.report.pictures import line_uri, matrix_uri, pictures


def points(uri):
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    lines = re.findall(r'points="([^"]*)"', svg)
    return [np.array([[float(v) for v in p.split(",")] for p in line.split()]) for line in lines]


def test_a_line_a_channel_up_is_up():
    ramp = np.linspace(0, 1, 50)
    first, second = points(line_uri(np.stack([ramp, -ramp])))
    assert (np.diff(first[:, 0]) > 0).all()
    assert (np.diff(first[:, 1]) < 0).all()  # SVG counts downwards
    assert (np.diff(second[:, 1]) > 0).all()
    assert first[:, 1].max() < second[:, 1].min()


@pytest.mark.parametrize("series", [np.zeros((1, 9)), np.ones((6, 1)), np.full((2, 500), 3.0)])
def test_constant_short_and_many(series):
    found = points(line_uri(series))
    assert len(found) == min(len(series), 4)
    assert all(np.isfinite(line).all() and len(line) <= 144 for line in found)


def test_matrix_in_grey():
    data = matrix_uri(np.arange(12.0).reshape(3, 4))
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))
    assert image.shape == (3, 4)
    assert image[0, 0] == 0
    assert image[2, 3] == 255


def test_graphs_have_none():
    with pytest.raises(TacitError, match="graph data have no picture"):
        pictures("graph", object())
    assert len(pictures("fmri", torch.randn(2, 5, 7))) == 2
