"""RankMe, its relatives and LiDAR against closed forms, naive formulas and invariances."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tacit.evaluation as ev
from tacit.errors import CollapseError
from tacit.evaluation import spectrum

pytestmark = pytest.mark.filterwarnings("ignore:.*rows of width.*:UserWarning")


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -1, d, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) * scale


def orthogonal(d: int, seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q


def entropy_rank(values: np.ndarray, eps: float) -> float:
    p = values / values.sum() + eps
    return float(np.exp(-(p * np.log(p)).sum()))


def test_worked_examples() -> None:
    z = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert ev.rankme(z) == pytest.approx(1.754765, abs=1e-6)
    assert ev.stable_rank(z) == pytest.approx(10 / 9, abs=1e-12)
    assert ev.condition_number(z) == pytest.approx(1 / 3, abs=1e-12)
    assert ev.coherence(z) == pytest.approx(1.0, abs=1e-12)
    eye = torch.eye(8)
    assert ev.rankme(eye) == pytest.approx(8.0000069, abs=2e-7)
    assert ev.rankme(eye, eps=1e-5) == pytest.approx(8.00069, abs=1e-5)
    assert ev.coherence(eye) == pytest.approx(1.0, abs=1e-12)
    assert ev.stable_rank(eye) == pytest.approx(8.0, abs=1e-12)


@pytest.mark.parametrize(("n", "dense"), [(20, 0), (500, 0), (500, 500 * 16)])
def test_both_routes_equal_the_direct_formula(
    n: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrum, "DENSE_NUMBERS", dense)
    z = gaussian(n, 16) + 0.3
    assert (spectrum.Spectrum(z).dense is None) == (n == 500 and dense == 0)
    s = np.linalg.svd(z.numpy(), compute_uv=False)
    lam = np.linalg.eigvalsh(np.cov(z.numpy().T))[::-1]
    u = np.linalg.svd(z.numpy(), full_matrices=False)[0]
    assert ev.rankme(z) == pytest.approx(entropy_rank(s, 1e-7), abs=1e-7)
    assert ev.stable_rank(z) == pytest.approx((s**2).sum() / s[0] ** 2, abs=1e-9)
    assert ev.condition_number(z) == pytest.approx(s[-1] / s[0], abs=1e-9)
    assert ev.nesum(z) == pytest.approx(lam.sum() / lam[0], abs=1e-9)
    assert ev.participation_ratio(z) == pytest.approx(lam.sum() ** 2 / (lam**2).sum(), abs=1e-9)
    assert ev.coherence(z) == pytest.approx(n / 16 * (u**2).sum(1).max(), abs=1e-9)
    for on, values in [("singular", s), ("eigen", lam)]:
        p = values / values.sum()
        assert ev.spectral_entropy(z, on=on) == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)
    assert ev.covariance_rank(z, tol=float(lam[3] + lam[4]) / 2) == 4


def test_low_rank_is_exact_and_close_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    z = gaussian(200, 3) @ gaussian(3, 16, seed=1)
    want = entropy_rank(np.linalg.svd(z.numpy(), compute_uv=False), 1e-7)
    assert ev.rankme(z) == pytest.approx(want, abs=1e-12)
    monkeypatch.setattr(spectrum, "DENSE_NUMBERS", 0)
    assert ev.rankme(z) == pytest.approx(want, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.sampled_from([12, 60]))
def test_rankme_invariances(seed: int, factor: float, n: int) -> None:
    z = gaussian(n, 8, seed)
    rank = ev.rankme(z)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for same in (factor * z, z @ orthogonal(8), orthogonal(n) @ z, z[rows], torch.cat([z, z])):
        assert ev.rankme(same) == pytest.approx(rank, abs=1e-6)
    assert ev.stable_rank(z) <= rank + 1e-6 <= 8 + 1e-4


def test_rankme_is_not_invariant_to_centring_or_row_scale() -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(40, 8, generator=g, dtype=torch.float64)
    assert ev.rankme(z) > 7
    assert ev.rankme(z + 3) < 5.5
    assert ev.rankme(z + 3, center=True) == pytest.approx(ev.rankme(z, center=True), abs=1e-9)
    scale = torch.logspace(-3, 3, 40, dtype=torch.float64)[:, None]
    assert ev.rankme(scale * z) != pytest.approx(ev.rankme(z), abs=0.1)
    assert ev.rankme(scale * z, normalize=True) == pytest.approx(
        ev.rankme(z, normalize=True), abs=1e-9
    )
    unit = torch.nn.functional.normalize(z, dim=1)
    assert ev.rankme(z, normalize=True, center=True) == pytest.approx(
        ev.rankme(unit - unit.mean(0)), abs=1e-9
    )


@pytest.mark.parametrize("n", [10, 400])
def test_rank_one_and_zero_columns(n: int) -> None:
    z = torch.outer(torch.linspace(1, 2, n), torch.ones(16)).double()
    assert ev.rankme(z) == pytest.approx(1.0, abs=1e-4)
    assert ev.stable_rank(z) == pytest.approx(1.0, abs=1e-9)
    wide = torch.cat([gaussian(n, 5), torch.zeros(n, 5, dtype=torch.float64)], 1)
    assert ev.rankme(wide) == pytest.approx(ev.rankme(gaussian(n, 5)), abs=1e-4)


def test_float32_does_not_inflate_a_small_rank() -> None:
    low = (gaussian(2000, 3) @ gaussian(3, 64, 1)).float()
    assert ev.rankme(low) == pytest.approx(ev.rankme(low.double()), abs=1e-9)
    assert ev.rankme(low) < 3.01


def test_bounded_by_the_matrix_rank() -> None:
    z = gaussian(300, 4) @ gaussian(4, 32, 1)
    assert 1 <= ev.stable_rank(z) <= ev.rankme(z) <= 4 + 1e-3
    assert 1 <= ev.nesum(z) <= ev.participation_ratio(z) + 1e-9 <= 4 + 1e-6
    assert ev.stable_rank(z - z.mean(0)) == pytest.approx(ev.nesum(z), abs=1e-9)
    assert ev.coherence(z) <= 300 / 4


@pytest.mark.parametrize("ranks", [(1, 30), (4, 100), (10, 20)])
@pytest.mark.parametrize("weighted", [True, False])
def test_alpha_of_an_exact_power_law(ranks: tuple[int, int], weighted: bool) -> None:
    eigen = 5 * torch.arange(1, 129, dtype=torch.float64) ** -1.3
    assert ev.alpha_req(eigen, ranks=ranks, weighted=weighted) == pytest.approx(1.3, abs=1e-9)
    assert ev.alpha_req(eigen.numpy(), ranks=ranks) == pytest.approx(1.3, abs=1e-9)


def test_alpha_of_a_matrix_uses_the_centred_covariance() -> None:
    n = 400
    basis = torch.linalg.qr(gaussian(n, 33))[0]
    basis = torch.linalg.qr(basis - basis.mean(0))[0][:, :32]
    basis = basis - basis.mean(0)
    z = basis * torch.arange(1, 33, dtype=torch.float64) ** -0.5
    assert ev.alpha_req(z + 10) == pytest.approx(1.0, abs=1e-6)


def test_alpha_weights_against_numpy() -> None:
    eigen = gaussian(1, 200)[0].abs().sort(descending=True).values
    j = np.arange(4, 101)
    slope = np.polyfit(np.log(j), np.log(eigen.numpy()[3:100]), 1, w=1 / np.sqrt(j))[0]
    assert ev.alpha_req(eigen) == pytest.approx(-slope, abs=1e-9)


def test_alpha_needs_enough_eigenvalues() -> None:
    with pytest.raises(ValueError, match="at least 5 positive"):
        ev.alpha_req(torch.tensor([1.0, 0.5, 0.1]))
    with pytest.raises(ValueError, match="ranks must be"):
        ev.alpha_req(torch.ones(9), ranks=(5, 5))


def naive_lidar(z: np.ndarray, delta: float, eps: float) -> float:
    n, q, d = z.shape
    mu = z.mean(1)
    diff = mu - mu.mean(0)
    sb = diff.T @ diff / (n - 1)
    w = (z - mu[:, None]).reshape(-1, d)
    sw = w.T @ w / (n * (q - 1)) + delta * np.eye(d)
    val, vec = np.linalg.eigh(sw)
    half = vec @ np.diag(val**-0.5) @ vec.T
    lam = np.maximum(np.linalg.eigvalsh(half @ sb @ half), 0) + eps
    return entropy_rank(lam, 0.0)


def test_lidar() -> None:
    z = gaussian(40, 8).unsqueeze(1) + 0.3 * gaussian(200, 8, 1).view(40, 5, 8)
    assert ev.lidar(z) == pytest.approx(naive_lidar(z.numpy(), 1e-4, 1e-8), abs=1e-9)
    assert ev.lidar(z.numpy()) == pytest.approx(ev.lidar(z), abs=1e-12)
    mix = gaussian(8, 8, 3) + 2 * torch.eye(8, dtype=torch.float64)
    assert ev.lidar(z @ mix, delta=0.0) == pytest.approx(ev.lidar(z, delta=0.0), abs=1e-6)
    assert ev.lidar(z @ mix) != pytest.approx(ev.lidar(z), abs=1e-6)
    # No scatter within samples and isotropic means: every direction counts.
    ideal = torch.cat([torch.eye(8), -torch.eye(8)]).double()[:, None].repeat(1, 3, 1)
    assert ev.lidar(ideal) == pytest.approx(8.0, abs=1e-4)


def test_lidar_bad_input() -> None:
    with pytest.warns(UserWarning, match="use more than 8 samples"):
        ev.lidar(gaussian(12, 8).view(6, 2, 8))
    with pytest.raises(ValueError, match="at least 2 augmentations"):
        ev.lidar(gaussian(12, 4)[:, None])
    with pytest.raises(ValueError, match="singular"):
        ev.lidar(torch.ones(9, 2, 4), delta=0.0)


@pytest.mark.parametrize("n", [6, 100])
def test_collapsed_and_broken_input(n: int) -> None:
    for function in (ev.rankme, ev.stable_rank, ev.condition_number, ev.criteria):
        with pytest.raises(CollapseError, match="all zero"):
            function(torch.zeros(n, 4))
    for function in (ev.nesum, ev.participation_ratio, ev.alpha_req):
        with pytest.raises(CollapseError, match="identical"):
            function(torch.full((n, 4), 0.1))
    broken = torch.ones(n, 4)
    broken[2, 1], broken[4, 0] = math.nan, math.inf
    for function in (ev.rankme, ev.nesum, ev.coherence, ev.criteria, ev.online_criteria):
        with pytest.raises(ValueError, match=rf"2 of {n} rows .* row 2"):
            function(broken)
    with pytest.raises(ValueError, match="at least 2 rows"):
        ev.nesum(torch.ones(1, 4))


def test_warns_of_few_rows() -> None:
    with pytest.warns(UserWarning, match="at least 16"):
        ev.rankme(gaussian(15, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ev.rankme(gaussian(16, 8))


def test_unknown_spectrum() -> None:
    with pytest.raises(Exception, match="on"):
        ev.spectral_entropy(torch.eye(3), on="both")  # type: ignore[arg-type]
