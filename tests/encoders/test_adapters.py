from __future__ import annotations

import importlib
import types

import pytest
import torch
from torch import Tensor, nn

from tacit.encoders import Features, ModuleEncoder, build_encoder, external, to_features
from tacit.encoders.adapters import split_tokens
from tacit.errors import ConfigError, MissingExtraError


class Returns(nn.Module):
    """A network whose output is a function of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, x: Tensor):
        return self.function(self.conv(x))


def tokens(maps: Tensor, prefix: int = 0) -> Tensor:
    patches = maps.flatten(2).transpose(1, 2)
    return torch.cat([patches[:, :1].expand(-1, prefix, -1) + 1, patches], dim=1)


@pytest.mark.parametrize(
    ("function", "has_patches"),
    [
        (lambda m: m, True),
        (lambda m: m.mean(dim=(2, 3)), False),
        (lambda m: tokens(m), True),
        (lambda m: tokens(m, 1), True),
        (lambda m: tokens(m, 5), True),
        (lambda m: {"last_hidden_state": tokens(m, 1), "pooler_output": None}, True),
        (lambda m: {"last_hidden_state": m, "pooler_output": m.mean((2, 3), keepdim=True)}, True),
        (lambda m: {"features": m}, True),
        (lambda m: {"pooled": m.mean(dim=(2, 3))}, False),
        (
            lambda m: {"x_norm_clstoken": m.mean((2, 3)), "x_norm_patchtokens": tokens(m)},
            True,
        ),
        (lambda m: [m[:, :, ::2, ::2], m], True),
        (lambda m: (tokens(m, 1), [m]), True),
        (lambda m: Features(m.mean(dim=(2, 3)), tokens(m), (4, 4)), True),
    ],
)
def test_outputs_of_every_kind(function, has_patches):
    encoder = build_encoder(Returns(function), in_channels=3, image_size=16)
    assert encoder.dim == 8
    x = torch.randn(2, 3, 16, 16)
    features = encoder.features(x)
    assert features.pooled.shape == (2, 8)
    if has_patches:
        assert features.grid == (4, 4)
        torch.testing.assert_close(features.patches, tokens(encoder.module.conv(x)))
    else:
        assert features.patches is None


def test_the_class_token_is_the_pooled_vector():
    raw = torch.randn(2, 17, 8)
    torch.testing.assert_close(to_features(raw).pooled, raw[:, 0])
    torch.testing.assert_close(to_features(raw[:, 1:]).pooled, raw[:, 1:].mean(dim=1))


def test_a_projected_vector_of_another_width_has_no_patches():
    features = to_features({"tokens": torch.zeros(2, 9, 8), "pooled": torch.zeros(2, 4)})
    assert features.pooled.shape == (2, 4)
    assert features.patches is None


def test_tokens_without_a_grid():
    with pytest.raises(ConfigError, match="not a square grid"):
        split_tokens(torch.zeros(1, 30, 4), prefix=1)
    ragged = {"last_hidden_state": torch.zeros(2, 15, 4), "pooler_output": torch.ones(2, 4)}
    assert to_features({**ragged}).pooled.shape == (2, 4)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(2), "shape"),
        ({"loss": torch.zeros(2, 4)}, "the keys"),
        ("text", "returned str"),
        ([], "returned list"),
    ],
)
def test_unusable_outputs(output, message):
    with pytest.raises(ConfigError, match=message):
        ModuleEncoder(Returns(lambda m: output), in_channels=3, image_size=16)


def test_a_module_that_cannot_read_the_images():
    with pytest.raises(ConfigError, match="Linear cannot read images"):
        ModuleEncoder(nn.Linear(5, 2), in_channels=3, image_size=16)


def test_the_dry_run_leaves_no_trace():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    encoder = ModuleEncoder(net, in_channels=3, image_size=8)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert (encoder.training, net[0].training, net[1].training) == (True, True, False)


def test_double_precision_modules_are_adapted():
    encoder = ModuleEncoder(nn.Conv2d(3, 4, 3).double(), in_channels=3, image_size=8)
    assert encoder(torch.zeros(1, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("timm:resnet18", "timm", "timm"),
        ("hf:some/model", "transformers", "text"),
        ("monai:ViT", "monai", "medical"),
    ],
)
def test_missing_libraries_name_their_extra(name, package, extra, monkeypatch):
    def refuse(module: str):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*tacit\[{extra}\]"):
        build_encoder(name, in_channels=3, image_size=32)


class FakeTimm(nn.Module):
    """The part of timm's model interface that the adapter uses."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.layout = layout
        if layout == "NHWC":
            self.output_fmt = "NHWC"
        if layout == "tokens":
            self.num_prefix_tokens = 2

    def forward_features(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        if self.layout == "tokens":
            return tokens(maps, 2)
        return maps.permute(0, 2, 3, 1) if self.layout == "NHWC" else maps

    def forward_head(self, raw: Tensor, pre_logits: bool = False) -> Tensor:
        assert pre_logits
        axes = {"NCHW": (2, 3), "NHWC": (1, 2), "tokens": (1,)}[self.layout]
        return 2 * raw.mean(dim=axes)


def fake_timm(layout: str, fixed: bool, seen: dict) -> types.SimpleNamespace:
    def create_model(name: str, **options):
        seen.update(options)
        if "bad" in options:
            raise TypeError("unexpected keyword argument 'bad'")
        return FakeTimm(layout)

    config = types.SimpleNamespace(fixed_input_size=fixed)
    return types.SimpleNamespace(
        list_models=lambda: ["resnet18", "vit_tiny"],
        create_model=create_model,
        models=types.SimpleNamespace(get_pretrained_cfg=lambda name: config),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "tokens"])
@pytest.mark.parametrize("fixed", [True, False])
def test_timm_models_of_every_layout(layout, fixed, monkeypatch):
    seen: dict = {}
    monkeypatch.setattr(external, "_import", lambda *names: fake_timm(layout, fixed, seen))
    encoder = build_encoder("timm:vit_tiny.tag", in_channels=3, image_size=16, drop_rate=0.1)
    x = torch.randn(2, 3, 16, 16)
    features = encoder.features(x)
    assert features.grid == (4, 4)
    torch.testing.assert_close(features.patches, tokens(encoder.module.conv(x)))
    assert features.pooled.shape == (2, encoder.dim) == (2, 8)
    assert (seen["num_classes"], seen["in_chans"], seen["pretrained"]) == (0, 3, False)
    assert seen.get("img_size") == (16 if fixed else None)
    assert seen["drop_rate"] == 0.1
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        build_encoder("timm:resnet_18", in_channels=3, image_size=16)
    with pytest.raises(ConfigError, match="timm cannot build"):
        build_encoder("timm:resnet18", in_channels=3, image_size=16, bad=1)


def needs(package: str):
    """The package, or a skip that says what is missing (timm imports torchvision)."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        pytest.skip(f"needs {package}: {error}")


def test_real_timm():
    needs("timm")
    for name in ("resnet18", "vit_tiny_patch16_224"):
        encoder = build_encoder(f"timm:{name}", in_channels=1, image_size=64).eval()
        features = encoder.features(torch.randn(1, 1, 64, 64))
        assert features.pooled.shape == (1, encoder.dim)
        assert features.patches.shape[2] == encoder.dim


def tiny_vit_config(transformers):
    return transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )


def test_transformers_vit():
    transformers = needs("transformers")
    model = transformers.ViTModel(tiny_vit_config(transformers))
    encoder = external.adapt_transformers(model, in_channels=3, image_size=32).eval()
    x = torch.randn(2, 3, 32, 32)
    features = encoder.features(x)
    hidden = model(pixel_values=x).last_hidden_state
    torch.testing.assert_close(features.pooled, hidden[:, 0])
    torch.testing.assert_close(features.patches, hidden[:, 1:])
    assert features.grid == (4, 4)
    with pytest.raises(ConfigError, match="reads 3 channels, the images have 1"):
        external.adapt_transformers(model, in_channels=1, image_size=32)


def test_transformers_convolutional():
    transformers = needs("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    model = transformers.ResNetModel(config)
    encoder = external.adapt_transformers(model, in_channels=3, image_size=32).eval()
    features = encoder.features(torch.randn(2, 3, 32, 32))
    assert encoder.dim == 16
    torch.testing.assert_close(features.patches.mean(dim=1), features.pooled)


def test_transformers_two_towers():
    transformers = needs("transformers")
    tower = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": 99},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
    )
    encoder = external.adapt_transformers(
        transformers.CLIPModel(config), in_channels=3, image_size=32
    )
    assert encoder.features(torch.randn(1, 3, 32, 32)).grid == (4, 4)
    assert encoder.dim == 32


def test_transformers_from_a_local_folder(tmp_path):
    transformers = needs("transformers")
    model = transformers.ViTModel(tiny_vit_config(transformers)).eval()
    model.save_pretrained(tmp_path)
    encoder = build_encoder(f"hf:{tmp_path}", in_channels=3, image_size=32).eval()
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder(x), model(pixel_values=x).last_hidden_state[:, 0])
    fresh = build_encoder(f"hf:{tmp_path}", in_channels=3, image_size=32, pretrained=False).eval()
    assert not torch.allclose(fresh(x), encoder(x))
    with pytest.raises(ConfigError, match="transformers cannot load"):
        build_encoder(f"hf:{tmp_path / 'nothing'}", in_channels=3, image_size=32)


def test_real_monai():
    needs("monai.networks.nets")
    needs("einops")  # of MONAI's transformers
    vit = build_encoder(
        "monai:ViT",
        in_channels=1,
        image_size=32,
        patch_size=8,
        hidden_size=32,
        mlp_dim=64,
        num_layers=1,
        num_heads=2,
    )
    assert vit.features(torch.randn(2, 1, 32, 32)).grid == (4, 4)
    assert vit.dim == 32
    resnet = build_encoder("monai:resnet18", in_channels=2, image_size=32)
    assert resnet(torch.randn(2, 2, 32, 32)).shape == (2, 512)
    with pytest.raises(ConfigError, match="Did you mean 'ViT'"):
        build_encoder("monai:VIT", in_channels=1, image_size=32)
    with pytest.raises(ConfigError, match="monai cannot build"):
        build_encoder("monai:ViT", in_channels=1, image_size=32, nothing=1)
