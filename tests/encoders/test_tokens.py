from __future__ import annotations

import math

import pytest
import torch

from tacit.encoders.tokens import PatchEmbed, interpolate_positions, sincos_positions
from tacit.errors import ConfigError


@pytest.mark.parametrize(
    ("patch", "size", "grid"),
    [((4,), (12,), (3,)), ((4, 2), (8, 6), (2, 3)), ((2, 4, 4), (4, 8, 12), (2, 2, 3))],
)
def test_a_token_is_a_linear_map_of_its_patch(patch, size, grid):
    torch.manual_seed(0)
    embed = PatchEmbed(3, 5, patch)
    x = torch.randn(2, 3, *size)
    tokens, got = embed(x)
    assert got == grid
    assert tokens.shape == (2, math.prod(grid), 5)
    last = x[(slice(None), slice(None), *(slice(-p, None) for p in patch))]
    expected = last.flatten(1) @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(tokens[:, -1], expected)


def test_four_axes_are_refused():
    with pytest.raises(ConfigError, match="1, 2 or 3 axes"):
        PatchEmbed(3, 8, (2, 2, 2, 2))


def test_sincos_positions_closed_form():
    positions = sincos_positions((3, 5), 8)
    # Two axes, two frequencies each: 1 and 1/100.
    row, column = 2, 3
    angles = [row, row / 100, column, column / 100]
    expected = [
        *(math.sin(a) for a in angles[:2]),
        *(math.cos(a) for a in angles[:2]),
        *(math.sin(a) for a in angles[2:]),
        *(math.cos(a) for a in angles[2:]),
    ]
    torch.testing.assert_close(positions[row * 5 + column], torch.tensor(expected))


@pytest.mark.parametrize("grid", [(16,), (4, 5), (2, 3, 4)])
def test_sincos_positions_are_distinct_on_any_number_of_axes(grid):
    positions = sincos_positions(grid, 32)
    assert positions.shape == (math.prod(grid), 32)
    distances = torch.cdist(positions, positions) + 10 * torch.eye(len(positions))
    assert distances.min() > 1e-2
    # Every position has the same length: one sine-cosine pair a frequency and axis.
    frequencies = 32 // (2 * len(grid)) * len(grid)
    torch.testing.assert_close(
        positions.square().sum(1), torch.full((len(positions),), float(frequencies))
    )


def test_sincos_positions_need_room():
    with pytest.raises(ConfigError, match="too small"):
        sincos_positions((2, 2, 2), 4)


@pytest.mark.parametrize(("old", "new"), [((8,), (5,)), ((4, 4), (7, 5)), ((2, 4, 4), (3, 3, 6))])
def test_resampling_keeps_constants_and_shapes(old, new):
    out = interpolate_positions(torch.full((math.prod(old), 3), 0.7), old, new)
    torch.testing.assert_close(out, torch.full((math.prod(new), 3), 0.7))


def test_resampling_keeps_the_axes_apart():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    out = interpolate_positions(table, (4, 4), (4, 8)).reshape(4, 8, 2)
    torch.testing.assert_close(out[:, 3, 0], torch.arange(4.0))
    assert (out[0, 1:, 1] > out[0, :-1, 1]).all()


def test_resampling_to_the_same_grid_is_the_identity():
    table = torch.randn(16, 3)
    assert interpolate_positions(table, (4, 4), (4, 4)) is table


def test_resampling_refuses_a_table_of_another_grid():
    with pytest.raises(ValueError, match="cannot resample 16 positions"):
        interpolate_positions(torch.zeros(16, 3), (3, 4), (4, 4))
