from __future__ import annotations

import pytest
import torch

from tacit.encoders import VisionTransformer, blocks, build_encoder
from tacit.encoders.blocks import Attention, Block, DropPath, attend
from tacit.encoders.vit import choose_patch_size
from tacit.errors import ConfigError


def tiny(**options):
    settings = {"in_channels": 3, "image_size": 32, "dim": 48, "depth": 2, "heads": 3, **options}
    torch.manual_seed(0)
    return VisionTransformer(**settings)


@pytest.mark.parametrize(
    ("name", "count"), [("vit_ti", 5_524_416), ("vit_s", 21_665_664), ("vit_b", 85_798_656)]
)
def test_parameter_counts_are_the_published_ones(name, count):
    """ViT/16 at 224 pixels without its classifier."""
    with torch.device("meta"):
        vit = build_encoder(name, in_channels=3, image_size=224)
    assert vit.patch_embed.patch_size == (16, 16)
    assert sum(p.numel() for p in vit.parameters()) == count


def test_weight_names_are_timms():
    keys = set(tiny(registers=1).state_dict())
    assert {"cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight"} <= keys
    assert {"blocks.1.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "norm.weight"} <= keys


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_tokens_other_than_patches_are_taken_off(pool, registers, positions):
    vit = tiny(pool=pool, registers=registers, positions=positions).eval()
    seen = []
    vit.blocks[0].register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    features = vit.features(torch.randn(2, 3, 32, 32))
    assert seen == [64 + registers + (pool == "class")]
    assert features.patches.shape == (2, 64, 48)
    mean = features.patches.mean(dim=1)
    assert torch.allclose(features.pooled, mean) == (pool == "mean")
    assert vit.pos_embed.requires_grad == (positions == "learned")


def test_the_class_token_row_of_sincos_positions_is_zero():
    vit = tiny(positions="sincos")
    assert vit.pos_embed[0, 0].abs().max() == 0
    assert vit.pos_embed[0, 1:].norm(dim=1).min() > 0


def test_positions_make_the_network_see_order():
    """Swapping two patches changes the class token; with zero positions it does not."""
    vit = tiny(positions="sincos").eval()
    x = torch.randn(1, 3, 32, 32)
    swapped = x.clone()
    swapped[..., :4, :4], swapped[..., 4:8, :4] = x[..., 4:8, :4], x[..., :4, :4]
    assert (vit(x) - vit(swapped)).abs().max() > 1e-4
    with torch.no_grad():
        vit.pos_embed.zero_()
    torch.testing.assert_close(vit(x), vit(swapped), rtol=1e-4, atol=1e-5)


def test_other_image_sizes_resample_the_positions():
    vit = tiny().eval()
    for size, grid in [((32, 32), (8, 8)), ((48, 48), (12, 12)), ((16, 24), (4, 6))]:
        features = vit.features(torch.randn(1, 3, *size))
        assert features.grid == grid
        assert features.patches.shape == (1, grid[0] * grid[1], 48)
    # An image of one colour, positions of one value: every size gives the same vector.
    vit = tiny(pool="mean").eval()
    with torch.no_grad():
        vit.pos_embed.fill_(0.3)
    torch.testing.assert_close(
        vit(torch.ones(1, 3, 32, 32)), vit(torch.ones(1, 3, 48, 48)), rtol=1e-4, atol=1e-5
    )


def test_positions_learn_through_resampling():
    vit = tiny()
    vit(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert vit.pos_embed.grad[0, 1:].abs().sum() > 0


def test_drop_path_is_off_in_eval_and_random_in_training():
    vit = tiny(drop_path=0.5, depth=6)
    assert [block.drop_path.rate for block in vit.blocks] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    )
    x = torch.randn(4, 3, 32, 32)
    torch.manual_seed(0)
    first, second = vit(x), vit(x)
    assert not torch.allclose(first, second)
    vit.eval()
    assert torch.equal(vit(x), vit(x))
    torch.testing.assert_close(vit(x), tiny(drop_path=0.0, depth=6).eval()(x))


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(20_000, 2, 3))
    assert torch.equal(out.amin(dim=(1, 2)), out.amax(dim=(1, 2)))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    layer = Attention(8, heads=2).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[..., part] @ k[..., part].mT / 2).softmax(dim=-1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("tokens", [17, 300])
@pytest.mark.parametrize("autocast", [False, True])
def test_attention_in_bf16_is_that_of_float32(monkeypatch, amx, tokens, autocast):
    monkeypatch.setattr(blocks, "_has_amx", lambda: amx)
    torch.manual_seed(0)
    exact = torch.randn(3, 2, 2, tokens, 8, requires_grad=True)
    half = exact.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = attend(*half)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    expected = attend(*exact)
    expected.square().sum().backward()
    torch.testing.assert_close(out.float(), expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close(half.grad.float(), exact.grad, atol=0.06, rtol=0.06)


def test_a_block_is_equivariant_to_the_order_of_tokens():
    torch.manual_seed(0)
    block = Block(8, 2).double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order])


def test_bad_sizes_are_refused():
    with pytest.raises(ConfigError, match="no multiple of the patch size"):
        tiny(image_size=30, patch_size=4)
    with pytest.raises(ConfigError, match="smaller than the patch size"):
        tiny(image_size=8, patch_size=16)
    vit = tiny()
    with pytest.raises(ValueError, match="no multiple of the patch size"):
        vit(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match="smaller than the patch size"):
        vit(torch.zeros(1, 3, 2, 32))


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 5},
        {"drop_path": 1.0},
        {"drop_path": -0.1},
        {"pool": "max"},
        {"positions": "none"},
        {"depth": 0},
        {"registers": -1},
        {"patch_size": 0},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError):
        tiny(**options)


def test_the_patch_size_follows_the_image_size():
    assert [choose_patch_size(size) for size in (224, 112, 96, 64, 32, 28, 16, 8)] == (
        [16, 16, 8, 8, 4, 4, 2, 2]
    )
    with pytest.raises(ConfigError, match="pass patch_size"):
        choose_patch_size(27)
