from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.encoders import ModuleEncoder, build_encoder
from tacit.errors import ConfigError


def test_dashes_and_case_do_not_matter():
    vit = build_encoder("ViT-Ti", in_channels=3, image_size=32, depth=1)
    assert vit.dim == 192


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        build_encoder("resnet_18", in_channels=3, image_size=32)
    with pytest.raises(ConfigError, match="unknown library 'tim'"):
        build_encoder("tim:resnet18", in_channels=3, image_size=32)


def test_unknown_options_get_a_suggestion():
    with pytest.raises(ConfigError, match=r"no option 'drop_paht'.*Did you mean 'drop_path'"):
        build_encoder("vit_ti", in_channels=3, image_size=32, drop_paht=0.1)
    with pytest.raises(ConfigError, match="'resnet18' has no option 'block'"):
        build_encoder("resnet18", in_channels=3, image_size=32, block=None)


def test_option_values_are_checked_and_converted():
    vit = build_encoder("vit_ti", in_channels=3, image_size=32, patch_size="8", depth=1)
    assert vit.grid == (4, 4)
    with pytest.raises(ConfigError, match="patch_size='big'"):
        build_encoder("vit_ti", in_channels=3, image_size=32, patch_size="big")
    with pytest.raises(ConfigError, match="'imagenet'"):
        build_encoder("resnet18", in_channels=3, image_size=32, stem="cifra")


@pytest.mark.parametrize(("channels", "size"), [(0, 32), (3, 0)])
def test_channels_and_size_must_be_positive(channels, size):
    with pytest.raises(ConfigError, match="must be positive"):
        build_encoder("small", in_channels=channels, image_size=size)


def test_own_modules():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5))
    encoder = build_encoder(net, in_channels=3, image_size=8)
    assert isinstance(encoder, ModuleEncoder)
    assert encoder.dim == 5
    assert build_encoder(encoder, in_channels=3, image_size=8) is encoder
    with pytest.raises(ConfigError, match="already built"):
        build_encoder(encoder, in_channels=1, image_size=8)


def test_torch_export_reads_a_built_encoder():
    vit = build_encoder("vit_ti", in_channels=3, image_size=32, depth=1).eval()
    x = torch.randn(2, 3, 32, 32)
    program = torch.export.export(vit, (x,))
    torch.testing.assert_close(program.module()(x), vit(x))
