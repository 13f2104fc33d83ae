"""The recipes by name, their adaptation to the images, and overrides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tacit.errors import ConfigError
from tacit.views import PRESETS, Views, ViewsConfig, build_views


def build(preset: str, image_size: int = 96, channels: int = 3, **options: Any) -> Views:
    stats = {"mean": [0.5] * channels, "std": [0.25] * channels}
    return build_views(preset, image_size=image_size, channels=channels, **stats, **options)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 64])
def test_every_preset_runs(preset: str, channels: int, size: int) -> None:
    make = build(preset, size, channels, n_views=3)
    x = torch.randint(0, 256, (2, channels, 40, 30), dtype=torch.uint8)
    out = make(x, torch.Generator().manual_seed(0))
    assert [v.shape for v in out] == [(2, channels, c.size, c.size) for c in make.configs]
    assert all(v.isfinite().all() for v in out)
    assert make.eval_view()(x).shape == (2, channels, size, size)


@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        ("simclr", {"strengths": (0.8, 0.8, 0.8, 0.2), "blur": 0.5, "area": (0.08, 1.0)}),
        ("moco", {"strengths": (0.4, 0.4, 0.4, 0.1), "area": (0.2, 1.0), "blur": 0.5}),
        ("dcl", {"strengths": (0.4, 0.4, 0.4, 0.1), "blur": 0.0, "jitter": 0.8, "grey": 0.2}),
        ("directpred", {"strengths": (0.4, 0.4, 0.4, 0.1), "normalise": True}),
        ("directpred-stl", {"strengths": (0.8, 0.8, 0.8, 0.2), "kernel": 9, "normalise": False}),
        ("mix-bt", {"strengths": (0.4, 0.4, 0.4, 0.1), "jitter": 0.8}),
        ("cacr", {"strengths": (0.4, 0.4, 0.4, 0.4), "jitter": 1.0, "area": (0.2, 1.0)}),
        ("mv-dhel", {"interpolation": "bicubic", "normalise": False}),
        ("mv-dhel-imagenet", {"kernel": 23, "blur_sigma": (0.2, 2.0), "blur": 0.5}),
        ("simclr-cifar", {"strengths": (0.8, 0.8, 0.8, 0.2), "blur": 0.0}),
        ("none", {"area": None, "hflip": 0.0, "jitter": 0.0, "grey": 0.0}),
    ],
)
def test_symmetric_presets_have_the_settings_of_their_papers(preset: str, fields: Any) -> None:
    first, second = build(preset).configs
    assert first == second
    assert {name: getattr(first, name) for name in fields} == fields


@pytest.mark.parametrize("preset", ["byol", "barlow"])
def test_asymmetric_presets(preset: str) -> None:
    configs = build(preset, n_views=3).configs
    assert [c.blur for c in configs] == [1.0, 0.1, 1.0]
    assert [c.solarise for c in configs] == [0.0, 0.2, 0.0]
    assert all(c.strengths == (0.4, 0.4, 0.2, 0.1) for c in configs)
    assert [c.solarise for c in build("asymmetric-cifar").configs] == [0.0, 0.2]


def test_dino_multi_crop_layout() -> None:
    configs = build("dino", 224).configs
    assert [c.size for c in configs] == [224] * 2 + [96] * 8
    assert [c.blur for c in configs] == [1.0, 0.1] + [0.5] * 8
    assert [c.solarise for c in configs] == [0.0, 0.2] + [0.0] * 8
    assert {c.area for c in configs[:2]} == {(0.4, 1.0)}
    assert {c.area for c in configs[2:]} == {(0.05, 0.4)}
    other = build("dino", 64, local_views=3, local_size=24, local_area=(0.1, 0.2), area=[0.25, 1])
    assert [c.size for c in other.configs] == [64, 64, 24, 24, 24]
    assert [c.area for c in other.configs] == [(0.25, 1.0)] * 2 + [(0.1, 0.2)] * 3
    x = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    out, where = other(x, torch.Generator().manual_seed(0), return_boxes=True)
    assert len(out) == len(where) == 5
    assert (where[4].boxes[:, 2] * where[4].boxes[:, 3]).max() <= 0.22 * 64 * 64


def test_small_images_have_no_blur_and_grey_ones_no_colour() -> None:
    assert {c.blur for c in build("byol", 32).configs} == {0.0}
    assert {c.blur for c in build("byol", 33).configs} == {1.0, 0.1}
    assert {c.blur for c in build("byol", 32, blur=0.4).configs} == {0.4}
    first = build("simclr", channels=1).configs[0]
    assert (first.saturation, first.hue, first.grey) == (0.0, 0.0, 0.0)
    assert (first.brightness, first.contrast) == (0.8, 0.8)


def test_overrides_for_all_views_and_for_each() -> None:
    configs = build("simclr", area=(0.3, 0.9), blur=[0.1, 0.7], vflip=0.5, chunk=4).configs
    assert [c.blur for c in configs] == [0.1, 0.7]
    assert {c.area for c in configs} == {(0.3, 0.9)}
    assert {c.vflip for c in configs} == {0.5}
    each = build("simclr", area=[(0.3, 0.9), (0.5, 1.0)]).configs
    assert [c.area for c in each] == [(0.3, 0.9), (0.5, 1.0)]


@pytest.mark.parametrize(
    ("preset", "options", "message"),
    [
        ("simcrl", {}, "Did you mean 'simclr'"),
        ("simclr", {"gray": 0.1}, "Did you mean 'grey'"),
        ("simclr", {"local_views": 3}, "unknown views option 'local_views'"),
        ("simclr", {"size": 3}, "unknown views option 'size'"),
        ("simclr", {"hflip": 1.5}, "hflip"),
        ("simclr", {"area": (0.5, 0.2)}, "area must be two numbers"),
        ("simclr", {"area": (0.5, 1.2)}, "<= 1"),
        ("simclr", {"blur": [0.1, 0.2, 0.3]}, "list of 3 values, but there are 2 views"),
        ("simclr", {"blur_kernel": 4}, "odd"),
        ("simclr", {"interpolation": "nearest"}, "interpolation"),
        ("simclr", {"n_views": 0}, "n_views"),
    ],
)
def test_bad_requests(preset: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(preset, **options)


def test_configs_round_trip_and_refuse_unknown_fields() -> None:
    for config in build("byol").configs:
        assert ViewsConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        ViewsConfig(size=8, sharpen=1.0)  # type: ignore[call-arg]
