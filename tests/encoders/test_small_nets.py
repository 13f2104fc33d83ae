from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.encoders import MLPHead, build_encoder
from tacit.errors import ConfigError


@pytest.mark.parametrize("size", [16, 20, 27, 32, 64])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_small_reads_any_size_and_channels(size, channels):
    net = build_encoder("small", in_channels=channels, image_size=size).eval()
    features = net.features(torch.randn(2, channels, size, size))
    assert features.patches.shape == (2, features.grid[0] * features.grid[1], net.dim)
    assert min(features.grid) >= 2


def test_small_pools_every_stage_with_the_same_weight():
    net = build_encoder("small", in_channels=3, image_size=32).eval()
    images = torch.randn(3, 3, 32, 32)
    features = net.features(images)
    widths = [64, 128, 256]
    assert net.dim == sum(widths) == features.pooled.shape[1]
    # At 32 pixels the earlier maps average evenly onto the last grid, so patches average to means.
    means = features.patches.mean(dim=1).split(widths, dim=1)
    for mean, pooled in zip(means, features.pooled.split(widths, dim=1), strict=True):
        torch.testing.assert_close(mean / mean.norm(dim=1, keepdim=True), pooled)
    torch.testing.assert_close(net(images), features.pooled)


def test_small_refuses_images_without_room():
    with pytest.raises(ConfigError, match="too small"):
        build_encoder("small", in_channels=3, image_size=4)


@pytest.mark.parametrize(("size", "flat"), [(32, 192 * 3 * 3), (64, 192 * 7 * 7)])
def test_smallalexnet_is_the_published_network(size, flat):
    with torch.device("meta"):
        net = build_encoder("smallalexnet", in_channels=3, image_size=size)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [96, 192, 384, 384, 192]
    assert all(m.kernel_size == (3, 3) and m.stride == (1, 1) for m in convolutions)
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(flat, 4096), (4096, 4096)]
    order = [type(m).__name__ for m in net.convolutions]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    pool = ["MaxPool2d"]
    assert order == block + pool + block + pool + block * 3 + pool
    assert net.dim == 4096


def test_smallalexnet_and_its_projector_start_at_std_002():
    torch.manual_seed(0)
    net = build_encoder("smallalexnet", in_channels=3, image_size=32, hidden=256)
    head = MLPHead((256, 128), init_std=0.02)
    for module in [*net.modules(), *head.modules()]:
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert module.bias is None or module.bias.abs().max() == 0
    assert head[0].bias is not None


def test_smallalexnet_reads_one_size():
    net = build_encoder("smallalexnet", in_channels=3, image_size=32, hidden=16)
    with pytest.raises(ValueError, match="built for 32-pixel images"):
        net(torch.zeros(2, 3, 64, 64))
    with pytest.raises(ConfigError, match="needs 15 or more"):
        build_encoder("smallalexnet", in_channels=3, image_size=14, hidden=16)
    assert build_encoder("smallalexnet", in_channels=3, image_size=15, hidden=16).dim == 16
