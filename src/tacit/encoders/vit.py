"""The vision transformer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features
from tacit.encoders.blocks import Block, init_transformer
from tacit.encoders.tokens import PatchEmbed, interpolate_positions, sincos_positions
from tacit.errors import ConfigError


def choose_patch_size(image_size: int) -> int:
    """The largest of 16, 8, 4, 2 that gives at least 7 patches a side, else 2.

    >>> [choose_patch_size(size) for size in (224, 96, 64, 32, 28)]
    [16, 8, 8, 4, 4]
    """
    for patch in (16, 8, 4, 2):
        if image_size % patch == 0 and image_size // patch >= 7:
            return patch
    if image_size % 2 == 0:
        return 2
    raise ConfigError(
        f"no patch size of 16, 8, 4 or 2 divides image_size={image_size}; pass patch_size"
    )


class VisionTransformer(Encoder):
    """ViT: patches, position embeddings, `depth` pre-norm blocks, a final norm.

    `pooled` is the class token (`pool="class"`) or the mean of the patch tokens (`pool="mean"`,
    then there is no class token), both after the final norm. Images of other sizes than
    `image_size` are read with resampled position embeddings. Names of weights are timm's.

    Parameters
    ----------
    in_channels, image_size : of the images; the size fixes the native grid of positions.
    dim, depth, heads, mlp_ratio : width, blocks, attention heads, hidden width / width.
    patch_size : pixels a side of a patch; None chooses by `choose_patch_size`.
    registers : extra tokens without a position that are thrown away at the end.
    drop_path : stochastic depth rate of the last block, rising linearly from 0 at the first.
    pool : "class" or "mean".
    positions : "learned", or "sincos" (fixed).

    Raises
    ------
    ConfigError
        `image_size` is smaller than a patch or no multiple of it, or an option is out of range.

    References
    ----------
    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al. (DeiT) 2021 for
    Ti and S; Darcet et al., "Vision Transformers Need Registers", ICLR 2024.

    >>> vit = VisionTransformer(in_channels=3, image_size=32, dim=64, depth=2, heads=2)
    >>> vit.features(torch.zeros(1, 3, 32, 32)).grid
    (8, 8)
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        patch_size: int | None = None,
        registers: int = 0,
        drop_path: float = 0.0,
        pool: Literal["class", "mean"] = "class",
        positions: Literal["learned", "sincos"] = "learned",
    ) -> None:
        super().__init__()
        if pool not in ("class", "mean") or positions not in ("learned", "sincos"):
            raise ConfigError(
                f"pool must be 'class' or 'mean' and positions 'learned' or 'sincos', "
                f"got pool='{pool}', positions='{positions}'"
            )
        if depth < 1 or registers < 0 or (patch_size is not None and patch_size < 1):
            raise ConfigError(
                f"need depth >= 1, registers >= 0 and patch_size >= 1, "
                f"got {depth}, {registers} and {patch_size}"
            )
        patch_size = choose_patch_size(image_size) if patch_size is None else patch_size
        self.in_channels, self.dim = in_channels, dim
        self.patch_embed = PatchEmbed(in_channels, dim, (patch_size, patch_size))
        try:
            self.grid = self.patch_embed.grid((image_size, image_size))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if pool == "class" else None
        self.reg_token = nn.Parameter(torch.zeros(1, registers, dim)) if registers else None
        patch_positions = sincos_positions(self.grid, dim)
        # The class token has its own position row in front (zero when sin-cos), as in ViT.
        table = nn.functional.pad(patch_positions, (0, 0, int(pool == "class"), 0))[None]
        self.pos_embed = nn.Parameter(table, requires_grad=positions == "learned")
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks.apply(init_transformer)
        tokens = [self.cls_token, self.reg_token]
        if positions == "learned":
            tokens.append(self.pos_embed)
        for token in tokens:
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        x, grid = self.patch_embed(x)
        prefix = 0 if self.cls_token is None else 1
        table = self.pos_embed[0]
        x = x + interpolate_positions(table[prefix:], self.grid, grid)
        if self.reg_token is not None:
            x = torch.cat([self.reg_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.cls_token is not None:
            token = self.cls_token + table[:1]
            x = torch.cat([token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        registers = 0 if self.reg_token is None else self.reg_token.shape[1]
        patches = x[:, prefix + registers :]
        pooled = patches.mean(dim=1) if self.cls_token is None else x[:, 0]
        return Features(pooled, patches, grid)
