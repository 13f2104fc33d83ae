"""Masking, positions and the masked autoencoder."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from tacit.encoders.masked import MaskedAutoencoder1D, TokenEncoder
from tacit.encoders.tokens import sincos_1d, sincos_2d, sincos_positions
from tacit.errors import ConfigError
from tacit.losses import masked_mse
from tacit.views.masking import random_masking, restore_tokens, visible_count


@given(st.integers(2, 40), st.floats(0, 0.95), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_masking_keeps_the_smallest_noise_and_can_be_undone(
    length: int, ratio: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    tokens, noise = torch.randn(3, length, 2, generator=g), torch.rand(3, length, generator=g)
    kept = int(length * (1 - ratio))
    if kept == 0:
        with pytest.raises(ValueError, match="hides all"):
            random_masking(tokens, ratio, noise)
        return
    visible, mask, restore = random_masking(tokens, ratio, noise)
    assert visible.shape == (3, kept, 2)
    assert torch.equal(mask.sum(1), torch.full((3,), float(length - kept)))
    for row in range(3):
        shown = noise[row][mask[row] == 0]
        assert kept == length or shown.max() <= noise[row][mask[row] == 1].min()
    back = restore_tokens(visible, torch.full((2,), 7.0), restore)
    assert torch.equal(back, torch.where(mask[..., None] == 1, torch.tensor(7.0), tokens))


def test_masks_are_drawn_for_each_sample_and_repeat_with_a_generator() -> None:
    tokens = torch.zeros(64, 20, 1)
    first = random_masking(tokens, 0.5, generator=torch.Generator().manual_seed(1)).mask
    again = random_masking(tokens, 0.5, torch.Generator().manual_seed(1)).mask
    assert torch.equal(first, again)
    assert len(first.unique(dim=0)) > 60
    assert (first.mean(0) - 0.5).abs().max() < 0.25


def test_bad_masks_are_refused() -> None:
    tokens = torch.zeros(2, 4, 1)
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must be in"):
            visible_count(4, ratio)
    with pytest.raises(ValueError, match="noise must be"):
        random_masking(tokens, 0.5, torch.zeros(2, 5))
    with pytest.raises(ValueError, match="expected tokens"):
        random_masking(tokens[0], 0.5)


def test_position_tables() -> None:
    one = sincos_1d(7, 12)
    k = torch.arange(6, dtype=torch.float64)
    assert torch.allclose(one[3, :6], torch.sin(3 * 10000 ** (-k / 6)), rtol=0, atol=1e-15)
    assert torch.allclose(one[3, 6:], torch.cos(3 * 10000 ** (-k / 6)), rtol=0, atol=1e-15)
    two = sincos_2d(7, 1, 24)  # a single column: constant half, then the rows
    assert torch.equal(two[:, :12], torch.tensor([0.0] * 6 + [1.0] * 6).double().expand(7, 12))
    assert torch.equal(two[:, 12:], one)
    grid = sincos_2d(2, 3, 8).view(2, 3, 8)
    assert torch.equal(grid[0, :, :4], sincos_1d(3, 4))
    assert torch.equal(grid[:, 0, 4:], sincos_1d(2, 4))
    swapped = sincos_positions((2, 3), 8).view(2, 3, 8).roll(4, -1)
    assert torch.allclose(grid.float(), swapped)
    for bad in (lambda: sincos_1d(3, 5), lambda: sincos_2d(3, 3, 6)):
        with pytest.raises(ConfigError, match="dim"):
            bad()


def autoencoder() -> MaskedAutoencoder1D:
    torch.manual_seed(0)
    return MaskedAutoencoder1D(6, 10, 16, 2, 2, 8, 2, 1).double()


def test_without_hidden_tokens_the_order_does_not_matter() -> None:
    mae, x = autoencoder(), torch.randn(4, 10, 6, dtype=torch.float64)
    plain = mae.encoder(x)
    shuffled, mask, restore = mae.encoder.masked(x, 0.0)
    assert mask.sum() == 0
    assert torch.allclose(shuffled[:, 0], plain[:, 0], atol=1e-12)
    assert torch.allclose(shuffled[:, 1:].mean(1), plain[:, 1:].mean(1), atol=1e-12)
    ordered = restore_tokens(shuffled[:, 1:], torch.zeros(16), restore)
    assert torch.allclose(ordered, plain[:, 1:], atol=1e-12)


def test_hidden_tokens_are_not_seen_and_class_token_is_not_decoded() -> None:
    mae, x = autoencoder(), torch.randn(4, 10, 6, dtype=torch.float64)
    noise = torch.rand(4, 10, dtype=torch.float64)
    latent, prediction, mask = mae(x, 0.6, noise)
    changed = x + mask[..., None] * torch.randn_like(x)
    for a, b in zip(mae(changed, 0.6, noise), (latent, prediction, mask), strict=True):
        assert torch.equal(a, b)
    _, _, restore = mae.encoder.masked(x, 0.6, noise)
    other = latent.clone()
    other[:, 0] += 1
    assert torch.equal(mae.decoder(other, restore), prediction)
    assert not torch.equal(mae(x + 1, 0.6, noise)[0], latent)


def test_initialisation_and_fixed_positions() -> None:
    mae = MaskedAutoencoder1D(64, 10, 256, 4, 1, 64, 4, 1)
    weight = mae.encoder.blocks[0].attn.qkv.weight.detach()
    bound = (6 / (256 + 768)) ** 0.5
    assert weight.abs().max() <= bound
    assert abs(float(weight.std()) - bound / 3**0.5) < 0.01 * bound
    assert mae.encoder.patch_embed.bias.abs().max() == 0
    assert 0.01 < float(mae.encoder.cls_token.detach().std()) < 0.03
    assert not mae.encoder.pos_embed.requires_grad
    assert mae.encoder.pos_embed[0, 0].abs().max() == 0
    assert torch.equal(mae.decoder.pos_embed[0], sincos_2d(10, 1, 64).float())


def test_bad_sizes_and_inputs() -> None:
    with pytest.raises(ConfigError, match="divisible by 4"):
        TokenEncoder(4, 5, 10, 2, 1)
    with pytest.raises(ConfigError, match="at least 2 tokens"):
        TokenEncoder(4, 1, 8, 2, 1)
    with pytest.raises(ConfigError, match="heads"):
        TokenEncoder(4, 5, 8, 3, 1)
    with pytest.raises(ValueError, match="expected tokens"):
        TokenEncoder(4, 5, 8, 2, 1)(torch.zeros(2, 6, 4))


def test_masked_mse() -> None:
    g = torch.Generator().manual_seed(0)
    pred, target = torch.randn(2, 3, 5, 4, generator=g, dtype=torch.float64).unbind(0)
    mask = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).double()
    wanted = (pred - target).square()[mask.bool()].mean()
    assert torch.allclose(masked_mse(pred, target, mask), wanted, rtol=1e-12)
    assert torch.equal(masked_mse(pred, target, mask.bool()), masked_mse(pred, target, mask))
    moved = pred + (1 - mask)[..., None] * 5
    assert torch.equal(masked_mse(moved, target, mask), masked_mse(pred, target, mask))
    normal = (target - target.mean(-1, True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(
        masked_mse(pred, target, mask, norm_target=True), masked_mse(pred, normal, mask)
    )
    assert torch.allclose(
        masked_mse(pred, 3 * target + 1, mask, True),
        masked_mse(pred, target, mask, True),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="no token is masked"):
        masked_mse(pred, target, torch.zeros(3, 5))
    with pytest.raises((ValueError, TypeCheckError), match=r"must be|parameter"):
        masked_mse(pred, target[:2], mask)
    with pytest.raises(ValueError, match="at least 2 features"):
        masked_mse(pred[..., :1], target[..., :1], mask, True)
    pred.requires_grad_(), target.requires_grad_()
    torch.autograd.gradcheck(lambda p, t: masked_mse(p, t, mask, True), (pred, target))
