"""Dynamic connectivity: windows, graphs, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.errors import ConfigError, DataError
from tacit.views import mask_nodes_edges, sliding_fc, sparsify_fc
from tacit.views.fmri import window_fc, window_starts
from tacit.views.fmri_masks import draw_triples, non_overlapping_gap


def series(batch: int = 2, time: int = 60, rois: int = 6, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, time, rois, generator=g, dtype=torch.float64)
    return noise + noise.cumsum(1) / 5 + noise.mean(-1, keepdim=True)


def test_windows_are_numpy_correlations_and_the_last_full_one_is_not_used() -> None:
    ts = series()
    fc, starts = sliding_fc(ts, window=20, stride=8)
    assert starts.tolist() == [0, 8, 16, 24, 32]  # 40 = 60 - 20 would be the last full window
    for b in range(2):
        for t, start in enumerate(starts.tolist()):
            expected = np.corrcoef(ts[b, start : start + 20].numpy().T)
            np.testing.assert_allclose(fc[b, t].numpy(), expected, atol=1e-12)
    assert sliding_fc(ts, 20, 8, last=True)[1].tolist() == [0, 8, 16, 24, 32, 40]


@pytest.mark.parametrize(
    ("points", "last", "expected"), [(50, True, 1), (51, False, 1), (54, 0, 2)]
)
def test_number_of_windows(points: int, last: bool, expected: int) -> None:
    assert len(window_starts(points, 50, 3, last=bool(last))) == expected


def test_crop_is_inside_the_recording_and_follows_the_generator() -> None:
    ts = series()
    fc, starts = sliding_fc(ts, 20, 8, length=40, start=7)
    assert starts.tolist() == [7, 15, 23]
    assert torch.equal(fc, window_fc(ts, starts, 20))
    drawn = {
        sliding_fc(ts, 20, 8, length=40, generator=torch.Generator().manual_seed(seed))[1][0].item()
        for seed in range(60)
    }
    assert drawn <= set(range(21))
    assert len(drawn) > 10


@settings(max_examples=25, deadline=None)
@given(
    scale=st.lists(st.floats(0.01, 100), min_size=6, max_size=6),
    shift=st.lists(st.floats(-1000, 1000), min_size=6, max_size=6),
)
def test_fc_is_invariant_to_affine_rescaling(scale: list[float], shift: list[float]) -> None:
    ts = series(1)
    fc, _ = sliding_fc(ts, 20, 20)
    changed, _ = sliding_fc(ts * torch.tensor(scale) + torch.tensor(shift), 20, 20)
    torch.testing.assert_close(changed, fc, atol=1e-9, rtol=0)


def test_fc_is_symmetric_with_unit_diagonal_in_range_and_permutes() -> None:
    ts = series()
    fc, _ = sliding_fc(ts, 20, 10)
    assert torch.equal(fc, fc.mT)
    assert (fc.diagonal(dim1=-2, dim2=-1) == 1).all()
    assert fc.abs().max() <= 1
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved, _ = sliding_fc(ts[..., order], 20, 10)
    torch.testing.assert_close(moved, fc[..., order, :][..., order])
    assert torch.equal(sparsify_fc(moved, 30), sparsify_fc(fc, 30)[..., order, :][..., order])


def test_windows_of_each_recording_of_their_own() -> None:
    ts = series()
    starts = torch.tensor([[0, 5], [11, 40]])
    fc = window_fc(ts, starts, 20)
    for b in range(2):
        torch.testing.assert_close(fc[b], window_fc(ts[b : b + 1], starts[b], 20)[0])


def test_a_constant_region_is_an_error_or_zero_with_a_warning() -> None:
    ts = series().float()
    ts[1, 20:40, 3] = 9164.768  # a level that is no sum of few bits
    with pytest.raises(DataError, match="region 3 of recording 1 of the batch is constant"):
        sliding_fc(ts, 20, 20)
    with pytest.warns(RuntimeWarning, match="constant inside a window"):
        fc, _ = sliding_fc(ts, 20, 20, constant="zero")
    assert (fc[1, 1, 3] == torch.eye(6)[3]).all()
    assert torch.isfinite(fc).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_missing_values_are_refused(value: float) -> None:
    ts = series()
    ts[0, 3, 2] = value
    with pytest.raises(DataError, match=r"recording 0 of the batch has NaN.*region 2"):
        sliding_fc(ts, 20, 20)


def test_bad_windows_are_refused() -> None:
    ts = series()
    with pytest.raises(DataError, match=r"60 time points is too short for windows of 60"):
        sliding_fc(ts, 60, 5)
    with pytest.raises(DataError, match="does not fit"):
        sliding_fc(ts, 20, 5, length=61)
    with pytest.raises(DataError, match="leaves the recording"):
        sliding_fc(ts, 20, 5, length=40, start=21)
    with pytest.raises(ConfigError, match="at least 2 points"):
        sliding_fc(ts, 1, 5)
    with pytest.raises(ConfigError, match="stride"):
        sliding_fc(ts, 20, 0)
    with pytest.raises(ValueError, match="add the batch axis"):
        sliding_fc(ts[0], 20, 5)
    with pytest.raises(ConfigError, match="constant must be"):
        sliding_fc(ts, 20, 5, constant="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [5, 17.5, 30, 60, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_links_are_strictly_above_the_percentile(keep: float, dtype: torch.dtype) -> None:
    fc = sliding_fc(series(rois=9), 20, 20)[0].to(dtype)
    adj = sparsify_fc(fc, keep)
    cut = np.percentile(fc.flatten(-2).double().numpy(), 100 - keep, axis=-1)
    cut = torch.tensor(cut).to(dtype)[..., None, None]
    assert torch.equal(adj, fc > cut)
    assert (adj.double().mean((-1, -2)) <= keep / 100 + 1e-12).all()
    assert torch.equal(adj, adj.mT)


def test_the_two_entries_of_a_pair_fall_on_one_side_of_the_percentile() -> None:
    for rois in range(5, 13):  # equal neighbours in the order: the percentile is their value
        fc = torch.rand(20, rois, rois, dtype=torch.float64)
        fc = (fc + fc.mT) / 2
        cut = np.percentile(fc.flatten(-2).numpy(), 70, axis=-1)
        assert torch.equal(sparsify_fc(fc, 30), fc > torch.tensor(cut)[:, None, None])


def test_self_loops_stay_where_one_is_above_the_percentile() -> None:
    fc = sliding_fc(series(rois=10), 20, 20)[0]
    assert sparsify_fc(fc, 30).diagonal(dim1=-2, dim2=-1).all()
    assert not sparsify_fc(fc, 5).any()  # 10 of 100 entries are 1, and nothing is above 1
    assert not sparsify_fc(torch.ones(4, 4), 30).any()


def test_negative_links_only_by_option() -> None:
    fc = torch.tensor([[1.0, -0.9, 0.1], [-0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    assert not sparsify_fc(fc, 60)[0, 1]
    assert sparsify_fc(fc, 60, negative=True)[0, 1]
    for bad in (0, -1, 101):
        with pytest.raises(ConfigError, match="keep_percent"):
            sparsify_fc(fc, bad)


def test_masks_hide_the_right_share(generator: torch.Generator) -> None:
    adj = torch.rand(200, 20, 20, generator=generator) > 0.5
    adj = adj | adj.mT | torch.eye(20, dtype=torch.bool)
    masks = mask_nodes_edges(adj, 0.5, 0.3, generator)
    assert (masks.nodes.sum(-1) == 10).all()
    assert len(masks.nodes.unique(dim=0)) > 190  # each graph its own
    assert abs(masks.nodes.double().mean(0) - 0.5).max() < 0.15
    assert torch.equal(masks.edges, masks.edges.mT)
    assert not masks.edges.diagonal(dim1=-2, dim2=-1).any()
    share = masks.edges.double().sum() / (200 * 20 * 19)
    assert abs(share - 0.3) < 0.01
    assert torch.equal(masks.adj, adj & ~masks.edges)
    assert masks.adj.diagonal(dim1=-2, dim2=-1).all()


def test_masks_repeat_with_the_generator_and_have_limits() -> None:
    adj = torch.ones(3, 5, 5, dtype=torch.bool)
    one, two = (mask_nodes_edges(adj, 0.4, 0.3, torch.Generator().manual_seed(1)) for _ in "ab")
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    assert (mask_nodes_edges(adj, 0.01, 0).nodes.sum(-1) == 1).all()
    assert not mask_nodes_edges(adj, 0.5, 0).edges.any()
    assert mask_nodes_edges(adj, 1.0, 0).nodes.all()
    for ratios in ((0, 0.3), (1.1, 0.3), (0.5, 1.0), (0.5, -0.1)):
        with pytest.raises(ConfigError, match="ratio must be"):
            mask_nodes_edges(adj, *ratios)


@pytest.mark.parametrize(("windows", "gap"), [(53, 5), (11, 5), (12, 5), (3, 1), (30, 7)])
def test_triples_keep_their_distance_and_reach_everything(windows: int, gap: int) -> None:
    before, centre, after = draw_triples(windows, (400, 10), gap, torch.Generator().manual_seed(0))
    assert ((centre - before >= gap) & (centre - before <= 2 * gap)).all()
    assert ((after - centre >= gap) & (after - centre <= 2 * gap)).all()
    assert before.min() == 0
    assert after.max() == windows - 1
    assert centre.unique().tolist() == list(range(gap, windows - gap))
    if windows >= 6 * gap:
        middle = (centre >= 2 * gap) & (centre < windows - 2 * gap)
        counts = (centre - before)[middle].bincount(minlength=2 * gap + 1)[gap:].double()
        assert (counts / counts.sum() - 1 / (gap + 1)).abs().max() < 0.03


def test_too_few_windows_for_the_gap() -> None:
    with pytest.raises(DataError, match="11 are needed"):
        draw_triples(10, (1,), 5)
    with pytest.raises(ConfigError, match="at least 1"):
        draw_triples(10, (1,), 0)
    assert non_overlapping_gap(40, 8) == 5
    assert non_overlapping_gap(41, 8) == 6
