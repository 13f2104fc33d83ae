"""A small picture of one raw sample or one view, for every kind of data that has one."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from tacit.errors import TacitError
from tacit.report.images import png_uri

SIDE = 72  # units of a drawing's square
CHANNELS, POINTS = 4, 144  # more lines or points than this cannot be told apart at this size


def line_uri(series: Tensor | np.ndarray) -> str:
    """An SVG data URI of one series: a line a channel, one above the other, each to its own scale.

    Parameters
    ----------
    series : (C, T), finite; the first four channels are drawn.

    >>> line_uri(np.sin(np.arange(100.0))[None])[:26]
    'data:image/svg+xml;base64,'
    """
    lines = np.asarray(series, dtype=np.float64)[:CHANNELS]
    points = np.unique(np.linspace(0, lines.shape[1] - 1, POINTS).round().astype(int))
    height = SIDE / len(lines)
    drawn = []
    for row, line in enumerate(lines[:, points]):
        low, high = line.min(), line.max()
        share = (line - low) / (high - low) if high > low else np.full(len(line), 0.5)
        y = height * (row + 0.92 - 0.84 * share)
        x = points / max(points[-1], 1) * (SIDE - 4) + 2
        drawn.append(" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y)))
    body = "".join(f'<polyline points="{p}"/>' for p in drawn)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">'
        f'<g fill="none" stroke="#4a7fb5" stroke-width="1">{body}</g></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def matrix_uri(values: Tensor | np.ndarray) -> str:
    """A PNG data URI of a matrix (rows, columns), grey from its lowest to its highest value."""
    matrix = np.asarray(values, dtype=np.float64)
    low, high = matrix.min(), matrix.max()
    grey = (matrix - low) / (high - low) * 255 if high > low else np.full(matrix.shape, 128.0)
    return png_uri(grey.round().astype(np.uint8)[None], largest=2 * SIDE)


_PICTURES: dict[str, Callable[[Any], str]] = {
    "image": png_uri,
    "series": line_uri,
    "fmri": matrix_uri,  # regions by time
}


def pictures(modality: str, batch: Any) -> list[str]:
    """Data URIs of the samples of a raw batch.

    Raises
    ------
    TacitError : samples of this modality have no picture.

    >>> len(pictures("series", Tensor(3, 1, 50).fill_(0)))
    3
    """
    if modality not in _PICTURES or not isinstance(batch, Tensor):
        raise TacitError(f"samples of {modality} data have no picture")
    return [_PICTURES[modality](sample) for sample in batch]
