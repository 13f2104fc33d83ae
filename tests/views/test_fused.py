"""Compiled views equal those of torch; who uses them, and what happens where numba is not."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.views import Views, ViewsConfig, build_views

fused = pytest.importorskip("tacit.views.fused")

ODDS = st.sampled_from([0.0, 0.5, 1.0])
STRENGTH = st.sampled_from([0.0, 0.4, 1.5])


def images(n: int, channels: int, height: int, width: int, kind: str = "noise") -> Tensor:
    g = torch.Generator().manual_seed(height * 100 + width)
    x = torch.randint(0, 256, (n, channels, height, width), generator=g, dtype=torch.uint8)
    if kind == "grey":
        return x[:, :1].repeat(1, channels, 1, 1)
    return x // 255 * 255 if kind == "corners" else x  # every channel 0 or 255


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(*configs: ViewsConfig, channels: int = 3, chunk: int | None = None) -> tuple[Views, Views]:
    """The same views, made by torch and compiled."""
    mean, std = [0.4, 0.5, 0.6, 0.5, 0.5][:channels], [0.2, 0.25, 0.3, 0.5, 0.5][:channels]
    torch_views = Views(configs, channels=channels, mean=mean, std=std, chunk=chunk)
    compiled = copy.deepcopy(torch_views)
    assert compiled.fuse()
    return torch_views, compiled


def agree(made: tuple[Views, Views], x: Tensor, seed: int = 0) -> list[Tensor]:
    """Both make the same views of x up to rounding, from the same random numbers."""
    generators = seeded(seed), seeded(seed)
    (wanted, where), (ours, here) = (
        views(x, g, return_boxes=True) for views, g in zip(made, generators)
    )
    for a, b in zip(ours, wanted):
        assert (a.dtype, a.shape, a.is_contiguous()) == (b.dtype, b.shape, True)
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
    assert all(torch.equal(a, b) for u, v in zip(where, here) for a, b in zip(u, v))
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    return ours


@settings(max_examples=60)
@given(
    channels=st.sampled_from([1, 3]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["noise", "grey", "corners"]),
    size=st.integers(4, 33),
    options=st.fixed_dictionaries(
        {
            "interpolation": st.sampled_from(["bilinear", "bicubic"]),
            "area": st.sampled_from([None, (0.08, 1.0), (0.01, 0.05)]),
            **dict.fromkeys(("hflip", "vflip", "turn", "jitter", "grey", "blur", "solarise"), ODDS),
            **dict.fromkeys(("brightness", "contrast", "saturation"), STRENGTH),
            "hue": st.sampled_from([0.0, 0.1, 0.5]),
            "normalise": st.booleans(),
        }
    ),
    chunk=st.sampled_from([1, 3, None]),
    seed=st.integers(0, 99),
)
def test_equals_the_torch_operations(
    channels: int,
    shape: tuple[int, int],
    kind: str,
    size: int,
    options: dict[str, Any],
    chunk: int | None,
    seed: int,
) -> None:
    config = ViewsConfig(size=size, **options)
    agree(both(config, channels=channels, chunk=chunk), images(8, channels, *shape, kind), seed)


def test_batches_presets_and_several_kinds_of_views() -> None:
    x = images(150, 3, 32, 32)
    stats = {"mean": [0.5] * 3, "std": [0.2] * 3}
    for preset in ("simclr", "asymmetric-cifar", "mv-dhel", "none"):
        made = build_views(preset, image_size=32, channels=3, **stats)
        compiled = copy.deepcopy(made)
        assert compiled.fuse()
        out = agree((made, compiled), x)
        assert preset == "none" or not torch.equal(out[0], out[1])
    crops = build_views("dino", image_size=96, channels=3, local_size=24, local_views=2, **stats)
    compiled = copy.deepcopy(crops)
    assert compiled.fuse()  # the local views; the global ones are too large
    agree((crops, compiled), images(3, 3, 96, 96))


def test_other_channels_and_layouts() -> None:
    plain = ViewsConfig(size=12, saturation=0.0, hue=0.0, grey=0.0)
    agree(both(plain, channels=5), images(6, 5, 20, 15))
    made, x = both(ViewsConfig(size=12)), images(6, 3, 20, 15)
    rows = agree(made, x)
    last = agree(made, x.contiguous(memory_format=torch.channels_last))
    part = agree(made, torch.cat([x, x], 3)[:, :, :, :15])
    assert torch.equal(rows[0], last[0])
    assert torch.equal(rows[0], part[0])


def test_other_default_type_and_grad_mode() -> None:
    made, x = both(ViewsConfig(size=12)), images(4, 3, 20, 15)
    torch.set_default_dtype(torch.float64)
    try:
        assert agree(made, x)[0].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        agree(made, x)


def test_a_view_depends_on_its_own_image_alone() -> None:
    _, compiled = both(ViewsConfig(size=16, turn=0.5))
    x = images(20, 3, 24, 30)
    other = x.clone()
    other[7] = 255 - other[7]
    a, b = compiled(x, seeded())[0], compiled(other, seeded())[0]
    same = (a == b).flatten(1).all(1)
    assert same.sum() == 19
    assert not same[7]


def test_only_small_views_of_8_bits_on_a_cpu_are_compiled() -> None:
    made, x = both(ViewsConfig(size=16)), images(2, 3, 20, 20)
    asked = []

    def refuse(raw: Tensor, *rest: object) -> Tensor:
        asked.append(raw)
        raise NotImplementedError

    made[1].views[0].fused = refuse
    with pytest.raises(NotImplementedError):
        made[1](x, seeded())
    del asked[:]
    agree(made, x / 255)
    raw = (x.double() / 255).requires_grad_()
    made[1](raw, seeded())[0].sum().backward()
    assert raw.grad is not None
    large = Views([ViewsConfig(size=65)], channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    assert not large.fuse()
    large.views[0].fused = refuse
    large(x, seeded())
    assert asked == []


def test_few_samples_do_not_pay_for_the_compiler() -> None:
    views = build_views("simclr", image_size=32, channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    assert not views.fuse(samples=100_000)
    assert views.views[0].fused is None
    assert views.fuse(samples=1_000_000)
    assert views.views[0].fused is fused.fused_views


def test_without_numba_and_with_one_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    views = Views([ViewsConfig(size=16)], channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    with monkeypatch.context() as patch:
        patch.setattr("tacit.views.compose.find_spec", lambda name: None)
        assert not views.fuse()
    assert not caplog.records
    monkeypatch.setitem(sys.modules, "tacit.views.fused", None)  # its import is an ImportError
    with caplog.at_level(logging.WARNING):
        assert not views.fuse()
    assert "numba cannot be used" in caplog.text
    assert views(images(2, 3, 20, 20), seeded())[0].shape == (2, 3, 16, 16)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), EOFError(), UnpicklingError()])
def test_a_full_disk_and_a_damaged_file(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(function: Any, **options: object) -> Any:
        def fail(*arguments: object) -> None:
            raise error

        return fail if options.get("cache") else function

    monkeypatch.setattr(fused, "njit", njit)
    seen: list[int] = []
    fused._compiled(seen.append)(3)
    assert seen == [3]


def test_a_machine_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(function: Any, **options: object) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(fused, "njit", njit)
    assert fused._compiled(len) is len


def test_numba_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys; from tacit.views import build_views; "
        "v = build_views('none', image_size=8, channels=1, mean=[0.5], std=[0.5]); "
        "v.fuse(samples=1000); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
