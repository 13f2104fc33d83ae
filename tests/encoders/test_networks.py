"""What holds for every built-in encoder."""

from __future__ import annotations

import pytest
import torch

from tacit.encoders import Features, build_encoder, encoder_names

# One light configuration of each family, quick on one core.
LIGHT: dict[str, dict[str, object]] = {
    "small": {},
    "smallalexnet": {"hidden": 64},
    "resnet18": {},
    "vit_ti": {"depth": 2, "registers": 2},
}


def build(name: str, in_channels: int = 3, image_size: int = 16):
    torch.manual_seed(0)
    return build_encoder(name, in_channels=in_channels, image_size=image_size, **LIGHT[name])


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 32), (4, 28)])
def test_shapes_for_sizes_and_channels(name, channels, size):
    encoder = build(name, channels, size).eval()
    features = encoder.features(torch.randn(2, channels, size, size))
    assert isinstance(features, Features)
    assert features.pooled.shape == (2, encoder.dim)
    if features.patches is None:
        assert features.grid is None
    else:
        height, width = features.grid
        assert features.patches.shape == (2, height * width, encoder.dim)


@pytest.mark.parametrize("name", LIGHT)
def test_forward_is_the_pooled_feature(name):
    encoder = build(name).eval()
    x = torch.randn(2, 3, 16, 16)
    output = encoder(x)
    assert type(output) is torch.Tensor
    assert torch.equal(output, encoder.features(x).pooled)


@pytest.mark.parametrize("name", LIGHT)
def test_every_parameter_gets_a_gradient(name):
    encoder = build(name)
    encoder(torch.randn(4, 3, 16, 16)).square().sum().backward()
    missing = [key for key, p in encoder.named_parameters() if p.grad is None]
    assert missing == []
    first = next(p for p in encoder.parameters() if p.ndim == 4)
    assert first.grad.abs().max() > 0


@pytest.mark.parametrize("name", LIGHT)
def test_initialisation_follows_the_seed(name):
    first, again = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    torch.manual_seed(1)
    other = build_encoder(name, in_channels=3, image_size=16, **LIGHT[name]).state_dict()
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", LIGHT)
def test_a_batch_of_one_equals_its_row_in_eval(name):
    encoder = build(name).eval()
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(encoder(x[:1]), encoder(x)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_autocast_is_close_to_float32(name):
    encoder = build(name).eval()
    x = torch.randn(2, 3, 16, 16)
    exact = encoder(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(x)
    assert torch.isfinite(rough).all()
    cosine = torch.cosine_similarity(exact, rough.float(), dim=1)
    assert cosine.min() > 0.99


@pytest.mark.parametrize("name", LIGHT)
def test_channels_last_gives_equal_outputs(name):
    encoder = build(name).eval()
    x = torch.randn(2, 3, 16, 16)
    expected = encoder.features(x)
    encoder = encoder.to(memory_format=torch.channels_last)
    got = encoder.features(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got.pooled, expected.pooled, rtol=1e-3, atol=1e-4)
    if expected.patches is not None:
        torch.testing.assert_close(got.patches, expected.patches, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LIGHT)
def test_bad_batches_are_refused_in_words(name):
    encoder = build(name).eval()
    with pytest.raises(ValueError, match="expected 3 channels, got 1"):
        encoder(torch.zeros(2, 1, 16, 16))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        encoder(torch.zeros(3, 16, 16))
    with pytest.raises(ValueError, match=r"float images, got torch\.uint8"):
        encoder(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["small", "resnet18", "vit_ti"])
def test_patches_sit_where_they_look(name):
    """A change in the top right corner moves the top right patch most."""
    encoder = build(name).eval()
    x = torch.randn(1, 3, 64, 64)
    changed = x.clone()
    changed[..., :16, 48:] += 3
    features = encoder.features(x)
    height, width = features.grid
    difference = (encoder.features(changed).patches - features.patches).norm(dim=-1)
    row, column = divmod(int(difference.argmax()), width)
    assert row < height / 2 <= column


@pytest.mark.parametrize("name", encoder_names())
def test_every_name_builds_without_touching_data(name):
    with torch.device("meta"):
        encoder = build_encoder(name, in_channels=3, image_size=32)
    assert encoder.dim > 0
