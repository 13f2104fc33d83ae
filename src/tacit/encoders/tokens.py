"""From grids to tokens: patch embedding and position embeddings for 1 to 3 axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.errors import ConfigError

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_INTERPOLATION = {1: "linear", 2: "bicubic", 3: "trilinear"}


class PatchEmbed(nn.Module):
    """Cut a grid into non-overlapping patches and project each to one token.

    One class for series (1 axis), images (2), volumes and video (3): the number of axes is the
    length of `patch_size`.

    Parameters
    ----------
    in_channels, dim : channels in, width of a token.
    patch_size : samples of a patch along each axis.

    Returns (forward)
    -----------------
    tokens (N, P, dim) in row-major order of the grid, and the grid itself.

    >>> tokens, grid = PatchEmbed(1, 8, (2, 4, 4))(torch.zeros(1, 1, 4, 16, 16))
    >>> tokens.shape, grid
    (torch.Size([1, 32, 8]), (2, 4, 4))
    """

    def __init__(self, in_channels: int, dim: int, patch_size: Sequence[int]) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        if len(self.patch_size) not in _CONVOLUTIONS:
            raise ConfigError(f"patch_size must name 1, 2 or 3 axes, got {self.patch_size}")
        convolution = _CONVOLUTIONS[len(self.patch_size)]
        self.proj = convolution(in_channels, dim, self.patch_size, stride=self.patch_size)
        # A linear layer over the patch: initialise it as one (as in ViT and MoCo v3), not as a
        # convolution with overlapping windows.
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))
        nn.init.zeros_(self.proj.bias)

    def grid(self, size: Sequence[int]) -> tuple[int, ...]:
        """Patches along each axis of an input of this size.

        Raises
        ------
        ValueError
            The size is smaller than a patch or no multiple of it.
        """
        for axis, (length, patch) in enumerate(zip(size, self.patch_size, strict=True)):
            if length < patch or length % patch:
                problem = "smaller than" if length < patch else "no multiple of"
                raise ValueError(
                    f"input size {tuple(size)} is {problem} the patch size {self.patch_size} "
                    f"along axis {axis}; resize the input or choose another patch_size"
                )
        return tuple(length // patch for length, patch in zip(size, self.patch_size, strict=True))

    def forward(self, x: Tensor) -> tuple[Float[Tensor, "batch patches dim"], tuple[int, ...]]:
        grid = self.grid([int(length) for length in x.shape[2:]])
        return self.proj(x).flatten(2).transpose(1, 2), grid


def sincos_positions(grid: Sequence[int], dim: int) -> Float[Tensor, "patches dim"]:
    """Fixed sine-cosine position embedding of a grid with any number of axes.

    Each of the A axes gets dim // (2 A) frequencies w_k = 10000^(-k / (dim // (2 A))) and the
    features sin(w_k t), cos(w_k t) of its coordinate t; a remainder of `dim` stays zero.

    References
    ----------
    Vaswani et al. 2017, section 3.5; the 2-D form of MoCo v3 (Chen, Xie, He 2021) and MAE.

    >>> sincos_positions((2, 2), 8)[0]  # position (0, 0): all sines 0, all cosines 1
    tensor([0., 0., 1., 1., 0., 0., 1., 1.])
    """
    frequencies = dim // (2 * len(grid))
    if frequencies == 0:
        raise ConfigError(f"dim={dim} is too small for positions on {len(grid)} axes")
    rates = 10000.0 ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)
    axes = [torch.arange(length, dtype=torch.float64) for length in grid]
    parts = []
    for coordinate in torch.meshgrid(*axes, indexing="ij"):
        angles = coordinate.reshape(-1, 1) * rates
        parts += [angles.sin(), angles.cos()]
    positions = torch.cat(parts, dim=1).float()
    return F.pad(positions, (0, dim - positions.shape[1]))


def sincos_1d(
    length: int, dim: int, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "length dim"]:
    """Sines, then cosines, of the positions 0 .. length - 1 at dim / 2 frequencies.

    Frequencies are 10000^(-k / (dim / 2)), k = 0 .. dim / 2 - 1.

    Raises
    ------
    ConfigError : `dim` is odd or below 2.

    >>> sincos_1d(2, 4)[0]
    tensor([0., 0., 1., 1.], dtype=torch.float64)
    """
    if dim < 2 or dim % 2:
        raise ConfigError(f"sine-cosine positions need an even dim, got {dim}")
    rates = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(dtype)


def sincos_2d(
    height: int, width: int, dim: int, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "positions dim"]:
    """Positions of a height x width grid, row by row: `sincos_1d` of the column, then of the row.

    The official code of MAE has this order of the two halves (`sincos_positions` the opposite
    one, that of MoCo v3).

    Raises
    ------
    ConfigError : `dim` is no multiple of 4.

    >>> sincos_2d(3, 1, 8)[:, :4]  # one column: constant
    tensor([[0., 0., 1., 1.],
            [0., 0., 1., 1.],
            [0., 0., 1., 1.]], dtype=torch.float64)
    """
    if dim < 4 or dim % 4:
        raise ConfigError(f"2-D sine-cosine positions need a dim divisible by 4, got {dim}")
    columns = sincos_1d(width, dim // 2, dtype).repeat(height, 1)
    rows = sincos_1d(height, dim // 2, dtype).repeat_interleave(width, dim=0)
    return torch.cat([columns, rows], dim=1)


def interpolate_positions(
    positions: Float[Tensor, "patches dim"], old: Sequence[int], new: Sequence[int]
) -> Float[Tensor, "new_patches dim"]:
    """Resample position embeddings from one grid to another (bicubic for images).

    >>> interpolate_positions(torch.ones(16, 8), (4, 4), (7, 7)).shape
    torch.Size([49, 8])
    """
    if tuple(old) == tuple(new):
        return positions
    if len(old) != len(new) or positions.shape[0] != math.prod(old):
        raise ValueError(
            f"cannot resample {positions.shape[0]} positions from grid {tuple(old)} to {tuple(new)}"
        )
    grid = positions.T.reshape(1, -1, *old)
    grid = F.interpolate(
        grid.float(), size=tuple(new), mode=_INTERPOLATION[len(old)], align_corners=False
    )
    return grid.flatten(2)[0].T.to(positions.dtype)
