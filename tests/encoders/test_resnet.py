from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.encoders import build_encoder
from tacit.encoders.resnet import BasicBlock, Bottleneck, choose_stem


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "count", "dim"),
    [
        ("resnet18", 11_176_512, 512),
        ("resnet34", 21_284_672, 512),
        ("resnet50", 23_508_032, 2048),
    ],
)
def test_parameter_counts_are_the_published_ones(name, count, dim):
    """torchvision's networks without their classifier."""
    with torch.device("meta"):
        net = build_encoder(name, in_channels=3, image_size=224)
    assert parameters(net) == count
    assert net.dim == dim
    assert (
        sum(isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1) for m in net.modules())
        == {
            "resnet18": 17,
            "resnet34": 33,
            "resnet50": 17,
        }[name]
    )


def test_weight_names_are_torchvisions():
    with torch.device("meta"):
        keys18 = set(build_encoder("resnet18", in_channels=3, image_size=224).state_dict())
        keys50 = set(build_encoder("resnet50", in_channels=3, image_size=224).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected18 = {"conv1.weight", *(f"bn1.{part}" for part in norm)}
    for stage in range(1, 5):
        for block in range(2):
            for index in (1, 2):
                expected18.add(f"layer{stage}.{block}.conv{index}.weight")
                expected18 |= {f"layer{stage}.{block}.bn{index}.{part}" for part in norm}
        if stage > 1:
            expected18.add(f"layer{stage}.0.downsample.0.weight")
            expected18 |= {f"layer{stage}.0.downsample.1.{part}" for part in norm}
    assert keys18 == expected18
    assert "layer1.0.downsample.0.weight" in keys50  # the width grows in the first stage too
    assert "layer3.5.conv3.weight" in keys50
    assert len(keys50) == 318  # torchvision's 320 without fc.weight and fc.bias


@pytest.mark.parametrize(
    ("stem", "size", "grid"),
    [("imagenet", 64, (2, 2)), ("cifar", 16, (2, 2)), ("cifar-pool", 32, (2, 2))],
)
def test_stems(stem, size, grid):
    net = build_encoder("resnet18", in_channels=3, image_size=size, stem=stem).eval()
    assert net.conv1.kernel_size == ((7, 7) if stem == "imagenet" else (3, 3))
    assert isinstance(net.maxpool, nn.Identity) == (stem == "cifar")
    assert net.features(torch.zeros(1, 3, size, size)).grid == grid


def test_the_automatic_stem_follows_the_size():
    assert [choose_stem("auto", size) for size in (16, 32, 48, 64, 96, 128, 224)] == (
        ["cifar"] * 3 + ["cifar-pool"] * 2 + ["imagenet"] * 2
    )
    assert choose_stem("imagenet", 32) == "imagenet"


@pytest.mark.parametrize(("name", "kind"), [("resnet18", BasicBlock), ("resnet50", Bottleneck)])
def test_zero_init_residual_makes_each_block_its_shortcut(name, kind):
    torch.manual_seed(0)
    net = build_encoder(name, in_channels=3, image_size=32, zero_init_residual=True).eval()
    block = net.layer1[1]
    assert isinstance(block, kind)
    x = torch.rand(2, net.layer1[0].last_norm.num_features, 4, 4)
    torch.testing.assert_close(block(x), x)
    plain = build_encoder(name, in_channels=3, image_size=32).eval()
    assert not torch.allclose(plain.layer1[1](x), x)


def test_pooled_is_the_mean_of_the_patches():
    net = build_encoder("resnet18", in_channels=3, image_size=32).eval()
    features = net.features(torch.randn(2, 3, 16, 24))  # any size, not only the built one
    assert features.grid == (2, 3)
    torch.testing.assert_close(features.patches.mean(dim=1), features.pooled)


def test_signal_keeps_its_scale_through_the_initialised_network():
    """He initialisation: activations neither vanish nor explode over 50 layers."""
    torch.manual_seed(0)
    net = build_encoder("resnet50", in_channels=3, image_size=32)
    out = net.features(torch.randn(4, 3, 32, 32)).patches
    assert 0.1 < out.std() < 10
