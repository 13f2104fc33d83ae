"""The claims on GraphMAE: their loops on a toy graph, and when their checks hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tacit.claims._planetoid import open_planetoid, probe_percent, train_whole, whole
from tacit.claims.graphmae import GraphMAEClaim
from tacit.claims.graphmae_ablation import SETTINGS, GraphMAEAblation
from tacit.claims.graphmae_graphs import GraphMAEGraphs, ego_graphs
from tacit.data.graph import GraphSource
from tacit.encoders.gnn import GNNEncoder
from tacit.errors import DataError
from tacit.methods.generative.graphmae import GraphMAE
from tacit.registry import CLAIMS

LAST = "accuracy, last epoch (%)"


@pytest.fixture
def toy() -> GraphSource:
    """Two communities; the words say which."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    ends = rng.integers(0, 60, (2, 400))
    edges = ends[:, label[ends[0]] == label[ends[1]]]
    x = (rng.random((60, 70)) < 0.02 + 0.06 * (np.arange(70) % 2 == label[:, None])).astype(float)
    part = np.arange(60) // 2 % 3
    return GraphSource("toy", x, edges, label, train=part == 0, val=part == 1, test=part == 2)


def test_training_follows_the_full_schedule_and_the_probe_reads_it(toy: GraphSource) -> None:
    torch.manual_seed(0)
    method = GraphMAE(GNNEncoder("gat", 70, 16, heads=2), mask_rate=0.5)
    graph, seen = whole(toy), []
    recipe = GraphMAE.preset_recipe("cora").changed({"epochs": 100})
    with torch.no_grad():
        before = float(method(graph.x, graph.edge_index))
    train_whole(method, graph, recipe, epochs=100, seed=0, watch=seen.append)
    assert seen == [50, 100]
    assert not method.training
    with torch.no_grad():
        assert float(method(graph.x, graph.edge_index)) < before
    scores = probe_percent(method.embed(graph), toy, 0, epochs=50)
    assert scores[LAST] > 80


def test_ego_graphs_hide_the_words_of_their_centre(toy: GraphSource) -> None:
    graphs = ego_graphs(toy, 5, seed=0)
    assert len(graphs) == 10
    assert graphs.labels is not None
    assert graphs.labels.tolist() == [0] * 5 + [1] * 5
    batch = graphs.batch(np.arange(10))
    first = torch.from_numpy(np.cumsum(graphs.sizes) - graphs.sizes)
    x = batch.x.to_dense()
    assert not x[first].any()
    assert x.any()


def rows(**cora: float) -> dict[str, dict[str, float]]:
    values = {"GraphMAE": 84.0, "untrained encoder": 74.0, "raw features": 53.0, **cora}
    out = {f"Cora, {name}": {LAST: value} for name, value in values.items()}
    names = {"GraphMAE": 73.0, "untrained encoder": 64.0, "raw features": 61.0}
    return out | {f"CiteSeer, {name}": {LAST: value} for name, value in names.items()}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"GraphMAE": 81.4}, False),
        ({"untrained encoder": 80.5}, False),
        ({"raw features": 85.0}, False),
        ({"GraphMAE": 82.0}, True),
    ],
)
def test_what_the_claim_needs(changes: dict[str, float], holds: bool) -> None:
    checks = GraphMAEClaim().checks(rows(**changes))
    assert all(check.holds for check in checks if check.decisive) == holds


def test_what_the_ablation_and_the_graphs_need() -> None:
    scores = {name: {LAST: 80.0} for name in SETTINGS}
    assert not GraphMAEAblation().checks(scores)[0].holds
    scores["squared error"][LAST] = 79.0
    decisive, *others = GraphMAEAblation().checks(scores)
    assert decisive.holds
    assert not any(check.decisive for check in others)
    svm = {
        name: {"SVM accuracy (%)": value}
        for name, value in (("GraphMAE", 60), ("untrained encoder", 50), ("raw features, mean", 70))
    }
    assert [check.holds for check in GraphMAEGraphs().checks(svm)] == [True, False]


def test_names() -> None:
    for name in ("graphmae", "graphmae-ablation", "graphmae-graphs"):
        assert CLAIMS.get(name).paper.year == 2022


def test_a_folder_is_not_taken_for_a_set() -> None:
    with pytest.raises(DataError, match="write planetoid:cora@/some/folder"):
        open_planetoid("cora", "/some/folder")
