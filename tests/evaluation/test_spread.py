"""SelfCluster, feature spread and the criteria of the local geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import tacit.evaluation as ev
from tacit.errors import CollapseError
from tacit.evaluation import spectrum


def uniform(n: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=g, dtype=torch.float64))


def test_self_cluster() -> None:
    z = uniform(300, 10) + 0.2
    unit = torch.nn.functional.normalize(z)
    n, d = z.shape
    q = float((unit @ unit.T).square().sum())
    chance = n * (n - 1) / d
    assert ev.self_cluster(z) == pytest.approx((q - n - chance) / (n * n - n - chance), abs=1e-12)
    assert ev.self_cluster(torch.ones(5, 3)) == pytest.approx(1.0, abs=1e-12)
    signs = torch.tensor([1.0, -1, 1, 1, -1])[:, None] * torch.ones(5, 3)
    assert ev.self_cluster(signs) == pytest.approx(1.0, abs=1e-6)
    assert abs(ev.self_cluster(uniform(2000, 10))) < 2e-3
    with pytest.raises(ValueError, match="at least 2"):
        ev.self_cluster(torch.ones(4, 1))


def test_feature_std() -> None:
    z = uniform(500, 16) * torch.linspace(1, 9, 500)[:, None]
    direct = float(torch.nn.functional.normalize(z).std(0).mean())
    assert ev.feature_std(z) == pytest.approx(direct, abs=1e-12)
    assert ev.feature_std_ratio(z) == pytest.approx(4 * direct, abs=1e-12)
    assert ev.feature_std(torch.full((7, 3), 0.3)) == 0.0
    assert 0.97 < ev.feature_std_ratio(z) < 1.01
    # The same number from the pass that the other criteria share.
    shared = ev.criteria(z, ["self_cluster", "feature_std"])["feature_std"].value
    assert shared == pytest.approx(direct, abs=1e-12)


@pytest.mark.parametrize("dense", [0, 2**22])
def test_coherence_of_a_spike(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "DENSE_NUMBERS", dense)
    z = torch.cat([uniform(99, 5), torch.zeros(99, 1, dtype=torch.float64)], 1)
    spike = torch.zeros(1, 6, dtype=torch.float64)
    spike[0, 5] = 1.0
    # One row owns a direction: its leverage is 1.
    assert ev.coherence(torch.cat([z, spike])) == pytest.approx(100 / 6, rel=1e-6)
    # A rank-deficient matrix counts only the directions that it has.
    assert ev.coherence(z) == pytest.approx(ev.coherence(z[:, :5]), rel=1e-9)
    assert ev.coherence(z[:10]) == pytest.approx(ev.coherence(z[:10, :5]), rel=1e-9)
    with pytest.raises(CollapseError, match="all zero"):
        ev.coherence(torch.zeros(4, 4))


def test_two_nn_dimension() -> None:
    x = uniform(400, 4) + 100  # far from the origin
    r, _ = NearestNeighbors(n_neighbors=3).fit(x.numpy()).kneighbors(x.numpy())
    direct = 400 / np.log(r[:, 2] / r[:, 1]).sum()
    assert ev.two_nn_dimension(x) == pytest.approx(direct, rel=1e-6)
    g = torch.Generator().manual_seed(0)
    for d in (1, 3):
        cube = torch.rand(1500, d, generator=g) @ torch.randn(d, 20, generator=g)
        assert ev.two_nn_dimension(cube) == pytest.approx(d, rel=0.15)


def test_two_nn_with_duplicates() -> None:
    x = uniform(100, 3)
    assert math.isfinite(ev.two_nn_dimension(torch.cat([x, x[:5]])))
    with pytest.raises(CollapseError, match="duplicate"):
        ev.two_nn_dimension(torch.cat([x, x]))
    with pytest.raises(ValueError, match="at least 3"):
        ev.two_nn_dimension(x[:2])


def test_cluster_learnability() -> None:
    g = torch.Generator().manual_seed(0)
    blobs = 10 * torch.eye(5).repeat(60, 1) + 0.1 * torch.randn(300, 5, generator=g)
    noise = torch.randn(300, 50, generator=g)
    for k in (1, 5):
        high = ev.cluster_learnability(blobs, n_clusters=5, k=k)
        low = ev.cluster_learnability(noise, n_clusters=5, k=k)
        assert high > 0.95 > 0.9 > low > 0.1
    again = ev.cluster_learnability(noise, n_clusters=5, k=5)
    assert again == low
    other = torch.Generator().manual_seed(7)
    assert ev.cluster_learnability(noise, 5, generator=other) != ev.cluster_learnability(noise, 5)
    with pytest.raises(ValueError, match="n_clusters"):
        ev.cluster_learnability(noise, n_clusters=301)
    with pytest.raises(ValueError, match="k must"):
        ev.cluster_learnability(noise, n_clusters=4, k=0)


def test_cluster_learnability_equals_a_loop_over_rows() -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(40, 4, generator=g, dtype=torch.float64)
    from tacit.evaluation.neighborhood import kmeans_labels

    own = torch.Generator().manual_seed(0)
    labels = kmeans_labels(x - x.mean(0), 4, own)
    order = torch.randperm(40, generator=own)
    x, labels = x[order], labels[order]
    right = [int(labels[(x[:i] - x[i]).norm(dim=1).argmin()] == labels[i]) for i in range(1, 40)]
    assert ev.cluster_learnability(x[order.argsort()], 4) == pytest.approx(sum(right) / 39)


def test_clid_ranks_runs() -> None:
    g = torch.Generator().manual_seed(0)
    blobs = 3 * torch.eye(10, 16).repeat(30, 1) + 0.3 * torch.randn(300, 16, generator=g)
    line = torch.rand(300, 1, generator=g) * torch.ones(16)
    noise = torch.randn(300, 2, generator=g) @ torch.randn(2, 16, generator=g)
    scores = ev.clid([blobs, line, noise])
    assert sum(scores) == pytest.approx(0.0, abs=1e-9)
    assert max(scores) == scores[0]
    assert ev.clid([noise, noise]) == [0.0, 0.0]
    with pytest.raises(ValueError, match="at least 2"):
        ev.clid([noise])
