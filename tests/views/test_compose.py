"""Whole views: seeds, order, probabilities, geometry, channels, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tacit.errors import ConfigError, DataError
from tacit.views import (
    EvalView,
    Views,
    ViewsConfig,
    colour_jitter,
    gaussian_blur,
    greyscale,
    resample,
    solarise,
)
from tacit.views.draws import draw

PLAIN = {"hflip": 0.0, "jitter": 0.0, "grey": 0.0, "normalise": False}
STATS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


def images(n: int = 20, channels: int = 3, height: int = 24, width: int = 30) -> Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (n, channels, height, width), generator=g, dtype=torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(*configs: ViewsConfig, channels: int = 3, chunk: int | None = None) -> Views:
    stats = {key: value[:1] * channels for key, value in STATS.items()} if channels != 3 else STATS
    return Views(configs, channels=channels, chunk=chunk, **stats)


FULL = ViewsConfig(size=16, grey=0.5, blur=0.5, solarise=0.5, vflip=0.5, turn=0.5)


def test_same_seed_same_views_other_seed_other_views() -> None:
    make, x = views(FULL, FULL), images()
    a, b, c = make(x, seeded(1)), make(x, seeded(1)), make(x, seeded(2))
    assert all(torch.equal(u, v) for u, v in zip(a, b))
    assert not torch.equal(a[0], c[0])
    assert not torch.equal(a[0], a[1])
    assert a[0].shape == (20, 3, 16, 16)
    assert a[0].dtype == torch.float32
    assert a[0].is_contiguous()


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    views(FULL)(images(), seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("chunk", [1, 3, 7, None])
def test_equals_one_image_at_a_time_with_the_same_parameters(chunk: int | None) -> None:
    config = FULL.model_copy(update={"contrast": 0.0, "saturation": 0.0, "hue": 0.0})
    x = images() / 255  # of uint8, a few images are cut one after the other and rounded to 8 bits
    (out,), (geometry,) = views(config, chunk=chunk)(x, seeded(3), return_boxes=True)
    drawn = draw(config, len(x), *x.shape[2:], seeded(3))
    mean, std = (torch.tensor(STATS[key])[:, None, None] for key in ("mean", "std"))
    for i in range(len(x)):
        one = slice(i, i + 1)
        y = resample(x[one], geometry.boxes[one], 16)
        y = y.flip(3) if geometry.hflip[i] else y
        y = y.flip(2) if geometry.vflip[i] else y
        y = y.mT if geometry.transpose[i] else y
        if drawn.jitter[i]:
            y = colour_jitter(y, *drawn.factors[one].unbind(1), order=["brightness"])
        y = greyscale(y) if drawn.grey[i] else y
        y = gaussian_blur(y, drawn.sigma[one], 3) if drawn.blur[i] else y
        y = solarise(y) if drawn.solarise[i] else y
        torch.testing.assert_close(out[i], (y[0] - mean) / std, atol=1e-5, rtol=0)


def test_the_jitter_order_is_drawn_for_each_chunk() -> None:
    # The same image and parameters everywhere: only the order can differ.
    config = ViewsConfig(size=4, area=None, hflip=0.0, grey=0.0, jitter=1.0, brightness=0.9)
    x = images(1, height=4, width=4).expand(240, -1, -1, -1)
    make = views(config, chunk=10).views[0]
    with pytest.MonkeyPatch.context() as patch:
        fixed = draw(config, 240, 4, 4, seeded())
        same = torch.tensor([1.8, 0.3, 1.4, 0.1]).expand(240, 4)
        patch.setattr("tacit.views.view.draw", lambda *_: replace(fixed, factors=same))
        out, _ = make(x, seeded())
    groups = out.view(24, 10, 3, 4, 4)
    torch.testing.assert_close(groups, groups[:, :1].expand_as(groups), atol=1e-5, rtol=0)
    different = torch.cdist(groups[:, 0].flatten(1), groups[:, 0].flatten(1)) > 1e-3
    assert different.any(1).all()
    assert not different.all()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("hflip", lambda x, y: (y == x.flip(3)).flatten(1).all(1)),
        ("vflip", lambda x, y: (y == x.flip(2)).flatten(1).all(1)),
        ("turn", lambda x, y: (y != x).flatten(1).any(1)),
        ("jitter", lambda x, y: (y != x).flatten(1).any(1)),
        ("grey", lambda x, y: (y.amax(1) - y.amin(1)).flatten(1).amax(1) < 1e-6),
        ("blur", lambda x, y: (y != x).flatten(1).any(1)),
        ("solarise", lambda x, y: (y != x).flatten(1).any(1)),
    ],
)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_each_operation_touches_its_share_of_the_samples(field: str, changes, p: float) -> None:  # type: ignore[no-untyped-def]
    n = 2000
    x = images(n, height=8, width=8)
    settings = PLAIN | {field: p, "blur_sigma": (1.0, 1.0)}
    out = views(ViewsConfig(size=8, area=None, **settings))(x, seeded())[0]
    plain = EvalView(8, [0.0] * 3, [1.0] * 3)(x)
    out = torch.where((out - plain).abs() < 1e-6, plain, out)  # products round
    share = changes(plain, out).double().mean().item()
    assert share == pytest.approx(p, abs=0 if p in (0, 1) else 3 * (p * (1 - p) / n) ** 0.5)


def test_turns_are_the_three_rotations() -> None:
    config = ViewsConfig(size=6, area=None, **(PLAIN | {"turn": 1.0}))
    x = images(300, height=6, width=6)
    out = views(config)(x, seeded())[0]
    plain = x / 255
    kinds = [
        ((torch.rot90(plain, k, (2, 3)) - out).abs().flatten(1).amax(1) < 1e-6) for k in (1, 2, 3)
    ]
    assert torch.stack(kinds).sum(0).eq(1).all()
    assert all(60 < kind.sum() < 140 for kind in kinds)


def test_boxes_are_where_the_views_come_from() -> None:
    config = ViewsConfig(size=8, interpolation="bicubic", vflip=0.5, **(PLAIN | {"hflip": 0.5}))
    x = images()
    (out,), (geometry,) = views(config)(x, seeded(), return_boxes=True)
    again = resample(
        x, geometry.boxes, 8, hflip=geometry.hflip, vflip=geometry.vflip, interpolation="bicubic"
    )
    torch.testing.assert_close(out, again, atol=1e-6, rtol=0)


def test_samples_do_not_mix() -> None:
    # A sample's view depends on its own pixels only.
    make, x = views(FULL), images()
    other = x.clone()
    other[7] = 255 - other[7]
    a, b = make(x, seeded())[0], make(other, seeded())[0]
    same = (a == b).flatten(1).all(1)
    assert same.sum() == 19
    assert not same[7]


def test_uint8_and_float_agree() -> None:
    make, x = views(FULL), images()
    torch.testing.assert_close(make(x, seeded())[0], make(x / 255, seeded())[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (2, 3), (50, 7), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_size(height: int, width: int, channels: int) -> None:
    out = views(FULL, channels=channels)(images(3, channels, height, width), seeded())[0]
    assert out.shape == (3, channels, 16, 16)
    assert out.isfinite().all()


def test_other_channel_counts_without_colour() -> None:
    config = ViewsConfig(size=8, saturation=0.0, hue=0.0, grey=0.0, blur=0.5, solarise=0.5)
    assert views(config, channels=5)(images(3, 5), seeded())[0].shape == (3, 5, 8, 8)
    with pytest.raises(ConfigError, match="saturation, hue, grey need images of 1 or 3 channels"):
        views(ViewsConfig(size=8), channels=2)


def test_views_are_differentiable_in_the_image() -> None:
    x = (images(6) / 255).requires_grad_()
    views(FULL)(x, seeded())[0].square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


def test_float32_inside_autocast() -> None:
    make, x = views(FULL), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = make(x, seeded())[0]
    assert torch.equal(inside, make(x, seeded())[0])


def test_eval_view_resizes_the_central_square_and_normalises() -> None:
    x = images(2, height=20, width=30)
    out = EvalView(10, **STATS)(x)
    mean, std = (torch.tensor(STATS[key])[:, None, None] for key in ("mean", "std"))
    reference = torch.nn.functional.interpolate(
        x[:, :, :, 5:25] / 255, (10, 10), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(out, (reference - mean) / std, atol=1e-5, rtol=0)
    same = EvalView(20, **STATS)(x[:, :, :, :20])
    torch.testing.assert_close(same, (x[:, :, :, :20] / 255 - mean) / std, atol=1e-5, rtol=0)


@pytest.mark.parametrize("module", [views(FULL), EvalView(16, **STATS)])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 2, 8, 8, dtype=torch.uint8), r"\(n, 3, height, width\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"\(n, 3, height, width\)"),
        (torch.zeros(2, 3, 0, 8, dtype=torch.uint8), "none of them zero"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "none of them zero"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "uint8 or floating point"),
        (torch.full((2, 3, 8, 8), float("nan")), "finite and in"),
        (torch.full((2, 3, 8, 8), 255.0), "divide 8-bit values by 255"),
    ],
)
def test_bad_images(module, bad: Tensor, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        module(bad, seeded()) if isinstance(module, Views) else module(bad)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="at least one view"):
        views()
    with pytest.raises(ConfigError, match="std > 0"):
        Views([FULL], channels=3, mean=[0.5] * 3, std=[0.2, 0.0, 0.2])
    with pytest.raises(ConfigError, match="one number for each"):
        Views([FULL], channels=3, mean=[0.5], std=[0.2] * 3)
    with pytest.raises(ConfigError, match="chunk"):
        views(FULL, chunk=0)
    with pytest.raises(ConfigError, match="image_size"):
        EvalView(0, [0.5], [0.5])


def test_equal_views_are_drawn_together_and_stay_apart() -> None:
    other = FULL.model_copy(update={"size": 8})
    make, x = views(FULL, FULL, other, chunk=4), images()
    out, geometry = make(x, seeded(), return_boxes=True)
    assert [len(view) for view in out] == [20, 20, 20]
    assert [view.shape[-1] for view in out] == [16, 16, 8]
    assert all(len(field) == 20 for one in geometry for field in one)
    assert not torch.equal(geometry[0].boxes, geometry[1].boxes)
    assert len(make.views) == 2
