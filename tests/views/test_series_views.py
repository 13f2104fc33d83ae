"""Random transforms of series: closed forms, what they keep, their distribution, the presets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from tacit.errors import ConfigError, DataError
from tacit.views import SERIES_PRESETS, SeriesEvalView, build_series_views
from tacit.views import series_ops as ops


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(n: int = 64, channels: int = 2, time: int = 60) -> torch.Tensor:
    """Every value tells its channel and time."""
    t = torch.arange(time, dtype=torch.float64)
    return (t + 1000 * torch.arange(channels)[:, None]).expand(n, -1, -1).clone()


def test_jitter_is_white_noise() -> None:
    noise = ops.jitter(torch.zeros(50, 4, 100), 0.3, gen())
    assert abs(float(noise.std()) - 0.3) < 0.01
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 0.002


def test_scaling_has_one_factor_a_channel() -> None:
    out = ops.scaling(torch.ones(3000, 2, 5), 0.5, gen())
    assert float(out.std(-1).max()) == 0
    factors = out[..., 0]
    assert abs(float(factors.mean()) - 1) < 0.03
    assert abs(float(factors.std()) - 0.5) < 0.02
    assert not torch.equal(factors[:, 0], factors[:, 1])


def test_permutation_moves_whole_pieces_of_all_channels_alike() -> None:
    x = ramp(500)
    out = ops.permutation(x, 5, gen())
    assert torch.equal(out.sort(-1).values, x)
    assert torch.equal(out[:, 0], out[:, 1] - 1000)
    cuts = (out[:, 0].diff() != 1).sum(1)
    assert int(cuts.max()) == 4
    assert 0 in cuts  # the identity is among the orders
    lengths = {p for row in out[:, 0] for p in _runs(row.tolist())}
    assert lengths <= {12, 15, 20, 30, 24, 36, 40, 45, 48, 60}  # pieces of 60/k, some joined
    assert torch.equal(ops.permutation(x, 1, gen()), x)


def _runs(row: list[float]) -> list[int]:
    breaks = [i + 1 for i in range(len(row) - 1) if row[i + 1] != row[i] + 1]
    edges = [0, *breaks, len(row)]
    return [b - a for a, b in itertools.pairwise(edges)]


def test_smooth_curves_are_cubic_splines() -> None:
    x = torch.zeros(3, 2, 41, dtype=torch.float64)
    curves = ops.smooth_curves(x, 2, 3, gen(4))
    knots = ops.normal(gen(4), x, 3, 2, 5)
    for i in range(3):
        spline = CubicSpline(np.linspace(0, 1, 5), knots[i].numpy(), axis=1)
        np.testing.assert_allclose(curves[i].numpy(), spline(np.linspace(0, 1, 41)), atol=1e-12)


def test_magnitude_warp_multiplies_by_a_smooth_curve() -> None:
    out = ops.magnitude_warp(torch.ones(400, 2, 100, dtype=torch.float64), 0.3, 4, gen())
    assert abs(float(out[..., 0].std()) - 0.3) < 0.03  # the first knot lies at the first sample
    assert float(out.diff(n=2).abs().max()) < 0.03
    assert torch.equal(ops.magnitude_warp(ramp(), 0.0, 4, gen()), ramp())


def test_time_warp_is_monotone_and_keeps_both_ends() -> None:
    x = ramp(200)
    out = ops.time_warp(x, 0.5, 4, gen())
    assert float(out.diff(dim=-1).min()) > 0
    torch.testing.assert_close(out[..., [0, -1]], x[..., [0, -1]])
    torch.testing.assert_close(out[:, 0], out[:, 1] - 1000)
    assert float((out - x).abs().max()) > 3
    torch.testing.assert_close(ops.time_warp(x, 0.0, 4, gen()), x)


def test_crop_resize_stretches_a_part() -> None:
    x = ramp(2000)
    out = ops.crop_resize(x, 0.5, gen())
    width = (out[:, 0, -1] - out[:, 0, 0]) / 59
    assert 0.5 <= float(width.min()) < 0.51
    assert 0.99 < float(width.max()) <= 1
    assert abs(float(width.mean()) - 0.75) < 0.01
    steps = out.diff(dim=-1)
    torch.testing.assert_close(steps, width[:, None, None].expand_as(steps))
    assert float(out[:, 0].min()) >= 0
    torch.testing.assert_close(ops.crop_resize(x, 1.0, gen()), x)


def test_time_mask_zeroes_one_span() -> None:
    out = ops.time_mask(torch.ones(3000, 2, 100), 0.4, gen())
    gone = out[:, 0] == 0
    assert torch.equal(gone, out[:, 1] == 0)
    assert int((gone.int().diff(dim=1) == 1).sum(1).max()) <= 1
    share = gone.float().mean(1)
    assert float(share.max()) <= 0.41
    assert abs(float(share.mean()) - 0.2) < 0.01


def test_channel_drop_always_leaves_one() -> None:
    out = ops.channel_drop(torch.ones(4000, 3, 2), 0.4, gen())
    kept = out[..., 0]
    assert torch.equal(out[..., 0], out[..., 1])
    assert float(kept.sum(1).min()) == 1
    expected = 1 - 0.4 + 0.4**3 / 3  # all three would go with .4^3: one of them is brought back
    assert abs(float(kept.mean()) - expected) < 0.015
    assert float(ops.channel_drop(torch.ones(50, 2, 1), 1.0, gen()).sum(1).unique()) == 1


@pytest.mark.parametrize("preset", SERIES_PRESETS)
def test_presets_are_seeded_and_of_one_shape(preset: str) -> None:
    views = build_series_views(preset, mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 0.5], n_views=3)
    x = torch.randn(5, 3, 37, generator=gen(1)) * 2
    one, two, other = views(x, gen(2)), views(x, gen(2)), views(x, gen(3))
    assert [v.shape for v in one] == [x.shape] * 3
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    assert all(bool(v.isfinite().all()) for v in one)
    changed = any(not torch.equal(a, b) for a, b in zip(one, other))
    assert changed == (preset != "none")
    normal = SeriesEvalView([1.0, 2.0, 3.0], [1.0, 2.0, 0.5])(x)
    assert any(torch.equal(v, normal) for v in one) == (preset == "none")


def test_probability_is_per_sample() -> None:
    views = build_series_views("none", mean=[0.0], std=[1.0], n_views=1, scale=1.0, scale_p=0.3)
    out = views(torch.ones(4000, 1, 2), gen())[0][:, 0, 0]
    assert abs(float((out != 1).float().mean()) - 0.3) < 0.03


def test_overrides_for_one_view_and_without_normalisation() -> None:
    views = build_series_views(
        "none", mean=[5.0], std=[2.0], normalise=[True, False], jitter=[0, 0]
    )
    x = torch.full((1, 1, 4), 9.0)
    assert [float(v.mean()) for v in views(x, gen())] == [2.0, 9.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_series_views("jiter-scale", mean=[0.0], std=[1.0]), "jitter-scale"),
        (lambda: build_series_views("none", mean=[0.0], std=[1.0], jiter=1), "Did you mean 'jit"),
        (lambda: build_series_views("none", mean=[0.0], std=[1.0], crop=0), "crop"),
        (lambda: build_series_views("none", mean=[0.0], std=[1.0], crop=[1, 1, 1]), "2 views"),
        (lambda: build_series_views("none", mean=[0.0], std=[1.0], n_views=0), "at least 1"),
        (lambda: build_series_views("none", mean=[0.0], std=[0.0]), "std > 0"),
    ],
)
def test_refused_options(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 3), torch.zeros(2, 2, 5), torch.zeros(1, 1, 5, dtype=torch.int64)]
)
def test_refused_batches(x: torch.Tensor) -> None:
    with pytest.raises(DataError, match="batch of float series"):
        SeriesEvalView([0.0], [1.0])(x)


def test_refuses_nan() -> None:
    with pytest.raises(DataError, match="NaN"):
        SeriesEvalView([0.0], [1.0])(torch.full((1, 1, 3), torch.nan))
