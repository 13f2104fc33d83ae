"""The masked autoencoder over a sequence of tokens: encoder, decoder, and both together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tacit.encoders.blocks import Block
from tacit.encoders.tokens import sincos_2d
from tacit.errors import ConfigError
from tacit.views.masking import random_masking, restore_tokens


class Encoded(NamedTuple):
    """What the encoder of a masked autoencoder gives.

    Attributes
    ----------
    latent : (n, 1 + kept, dim) class token and visible tokens after the final norm.
    mask : (n, length) 1 where a token was hidden.
    ids_restore : (n, length) as in `tacit.views.masking.Masked`.
    """

    latent: Float[Tensor, "batch tokens dim"]
    mask: Float[Tensor, "batch length"]
    ids_restore: Int[Tensor, "batch length"]


class TokenEncoder(nn.Module):
    """Linear, fixed positions, class token, pre-norm blocks, norm; hidden tokens are left out.

    Parameters
    ----------
    in_dim, n_tokens : width and number of the tokens that come in.
    dim, heads, depth : width (divisible by 4), attention heads and blocks.

    Raises
    ------
    ConfigError : a size is out of range.
    """

    def __init__(self, in_dim: int, n_tokens: int, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        _check(in_dim, n_tokens, depth)
        self.in_dim, self.n_tokens, self.dim = in_dim, n_tokens, dim
        self.patch_embed = nn.Linear(in_dim, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        # row 0, of the class token, is zero
        positions = nn.functional.pad(sincos_2d(n_tokens, 1, dim), (0, 0, 1, 0))
        self.pos_embed = nn.Parameter(positions.float()[None], requires_grad=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_masked)
        nn.init.normal_(self.cls_token, std=0.02)

    def embed(self, tokens: Float[Tensor, "batch length in_dim"]) -> Float[Tensor, ...]:
        """Tokens at the encoder's width, with their positions."""
        if tokens.ndim != 3 or tokens.shape[1:] != (self.n_tokens, self.in_dim):
            raise ValueError(
                f"expected tokens (n, {self.n_tokens}, {self.in_dim}), got {tuple(tokens.shape)}"
            )
        return self.patch_embed(tokens) + self.pos_embed[:, 1:]

    def transform(self, embedded: Float[Tensor, "batch kept dim"]) -> Float[Tensor, ...]:
        """Class token in front, blocks, norm: (n, 1 + kept, dim)."""
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(embedded.shape[0], -1, -1)
        x = torch.cat([cls_token, embedded], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, tokens: Float[Tensor, "batch length in_dim"]) -> Float[Tensor, ...]:
        """All tokens visible, in their order: (n, 1 + length, dim)."""
        return self.transform(self.embed(tokens))

    def masked(
        self,
        tokens: Float[Tensor, "batch length in_dim"],
        ratio: float,
        noise: Float[Tensor, "batch length"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Encoded:
        """Only a random part of the tokens is seen; arguments as in `random_masking`."""
        visible, mask, restore = random_masking(
            self.embed(tokens), ratio, noise, generator=generator
        )
        return Encoded(self.transform(visible), mask, restore)


class TokenDecoder(nn.Module):
    """Predict all tokens from the visible ones: mask tokens, positions, blocks, norm, Linear.

    Parameters
    ----------
    in_dim, out_dim : width of the encoder and of the tokens to predict.
    n_tokens : how many.
    dim, heads, depth : width of the decoder (divisible by 4), attention heads and blocks.

    Raises
    ------
    ConfigError : a size is out of range.
    """

    def __init__(
        self, in_dim: int, out_dim: int, n_tokens: int, dim: int, heads: int, depth: int
    ) -> None:
        super().__init__()
        _check(in_dim, n_tokens, depth)
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        positions = sincos_2d(n_tokens, 1, dim).float()[None]
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pred = nn.Linear(dim, out_dim)
        self.apply(init_masked)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self,
        latent: Float[Tensor, "batch tokens in_dim"],
        ids_restore: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length out_dim"]:
        """`latent` has the class token in front, which is not used."""
        visible = self.embed(latent[:, 1:])
        x = restore_tokens(visible, self.mask_token, ids_restore) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))


class MaskedAutoencoder1D(nn.Module):
    """A masked autoencoder over a sequence of feature vectors (ViT encoder, light decoder).

    Parameters
    ----------
    in_dim, n_tokens : width and number of the tokens.
    dim, heads, depth : of the encoder.
    dec_dim, dec_heads, dec_depth : of the decoder.

    Raises
    ------
    ConfigError : a size is out of range, or a width is no multiple of 4 or of its heads.

    References
    ----------
    He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; Lee et al.,
    "NeuroNet", 2024, for tokens in time.

    Examples
    --------
    >>> mae = MaskedAutoencoder1D(6, 10, 16, 2, 1, 8, 2, 1)
    >>> latent, prediction, mask = mae(torch.zeros(3, 10, 6), 0.8)
    >>> latent.shape, prediction.shape, mask.sum(1)
    (torch.Size([3, 2, 16]), torch.Size([3, 10, 6]), tensor([9., 9., 9.]))
    """

    def __init__(
        self,
        in_dim: int,
        n_tokens: int,
        dim: int,
        heads: int,
        depth: int,
        dec_dim: int,
        dec_heads: int,
        dec_depth: int,
    ) -> None:
        super().__init__()
        self.encoder = TokenEncoder(in_dim, n_tokens, dim, heads, depth)
        self.decoder = TokenDecoder(dim, in_dim, n_tokens, dec_dim, dec_heads, dec_depth)

    def forward(
        self,
        tokens: Float[Tensor, "batch length in_dim"],
        ratio: float = 0.8,
        noise: Float[Tensor, "batch length"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(latent (n, 1 + kept, dim), prediction (n, length, in_dim), mask (n, length))."""
        latent, mask, restore = self.encoder.masked(tokens, ratio, noise, generator=generator)
        return latent, self.decoder(latent, restore), mask


def init_masked(module: nn.Module) -> None:
    """Xavier-uniform linear weights, zero biases (MAE's official initialisation)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(in_dim: int, n_tokens: int, depth: int) -> None:
    if in_dim < 1 or n_tokens < 2 or depth < 1:
        raise ConfigError(
            f"a masked autoencoder needs a positive width, at least 2 tokens and 1 block, got "
            f"width {in_dim}, {n_tokens} tokens, depth {depth}"
        )
