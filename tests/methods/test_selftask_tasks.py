"""The pretext tasks: targets in closed form, limiting cases, gradients, bad input."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType, SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from selftask_graphs import blocks, path, star
from torch import nn

from tacit.errors import ConfigError, DataError
from tacit.graphs import (
    TASKS,
    AttributeMask,
    ContextLabel,
    CorrectedLabel,
    DistanceToClusters,
    DistanceToLabeled,
    EdgeMask,
    NodeProperty,
    PairwiseAttributeSimilarity,
    PairwiseDistance,
    build_task,
    partition,
    published_lambda,
    published_options,
)
from tacit.methods.predictive._tasks import _distance, _partition, _sample
from tacit.methods.predictive._tasks._base import pair_logits
from tacit.methods.predictive._tasks._graph import adjacency

warnings.filterwarnings("ignore", message="The package pymetis")
pytestmark = pytest.mark.filterwarnings("ignore:The package pymetis")


def make(name: str):
    options = {"clusters": 3} if name == "distance-to-clusters" else {}
    return build_task(name, **options)


def networkx_graph(graph) -> nx.Graph:
    made = nx.Graph()
    made.add_nodes_from(range(graph[0].shape[0]))
    made.add_edges_from(graph[1].T.tolist())
    return made


# --- every task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_gradients_are_right(name: str) -> None:
    graph, y, train = blocks(30)
    task = make(name).prepare(graph, train, y)
    head = task.head(5).double()
    h = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(h: torch.Tensor) -> torch.Tensor:
        task.generator.manual_seed(3)
        return task.loss(h, head)

    assert loss(h).shape == ()
    assert torch.autograd.gradcheck(loss, h.requires_grad_())


@pytest.mark.parametrize("name", TASKS)
def test_draws_follow_the_given_generator_alone(name: str) -> None:
    graph, y, train = blocks()
    h = torch.randn(60, 6, generator=torch.Generator().manual_seed(1)).double()
    values = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        np.random.seed(noise)
        task = make(name).prepare(graph, train, y, torch.Generator().manual_seed(5))
        state = torch.random.get_rng_state()
        head = nn.Linear(6, task.outputs).double()
        nn.init.ones_(head.weight)
        nn.init.zeros_(head.bias)
        torch.random.set_rng_state(state)
        values.append([task.loss(h, head).item() for _ in range(3)])
        assert torch.equal(state, torch.random.get_rng_state())
    assert values[0] == values[1]


@pytest.mark.parametrize("name", TASKS)
def test_only_training_labels_are_read(name: str) -> None:
    graph, y, train = blocks()
    hidden = torch.full_like(y, -1)
    hidden[train] = y[train]
    wrong = (y + 1) % 3
    wrong[train] = y[train]
    h = torch.randn(60, 6, generator=torch.Generator().manual_seed(1)).double()
    losses = []
    for labels in (y, hidden, wrong):
        task = make(name).prepare(graph, train, labels)
        torch.manual_seed(0)
        losses.append(task.loss(h, task.head(6).double()).item())
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("name", [n for n, cls in TASKS.items() if cls.uses_labels])
def test_label_tasks_need_labels(name: str) -> None:
    graph, y, train = blocks()
    with pytest.raises(ConfigError, match="labels of the training nodes"):
        make(name).prepare(graph)
    with pytest.raises(DataError, match="no label"):
        make(name).prepare(graph, train, torch.full_like(y, -1))
    with pytest.raises(DataError, match="no unlabelled node"):
        make(name).prepare(graph, np.arange(60), y)
    with pytest.raises(DataError, match="one a node"):
        make(name).prepare(graph, train, y[:-1])
    with pytest.raises(DataError, match="one a node"):
        make(name).prepare(graph, train, y.double())


@pytest.mark.parametrize("name", TASKS)
def test_masks_positions_and_objects_are_the_same_graph(name: str) -> None:
    (x, edge_index), y, train = blocks()
    mask = torch.zeros(60, dtype=torch.bool)
    mask[train] = True
    both = torch.cat([edge_index, edge_index.flip(0), edge_index[:, :7]], 1)  # duplicates
    loops = torch.arange(60).expand(2, -1)
    h = torch.randn(60, 6, generator=torch.Generator().manual_seed(1)).double()
    forms = [
        ((x, edge_index), train),
        (SimpleNamespace(x=x, edge_index=both), mask),
        ((x.to_sparse_csr(), torch.cat([both, loops], 1)), torch.from_numpy(train)),
    ]
    losses = []
    for graph, idx in forms:
        task = make(name).prepare(graph, idx, y)
        torch.manual_seed(0)
        losses.append(task.loss(h, task.head(6).double()).item())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (object(), "x .N, F. and edge_index"),
        ((torch.empty(0, 3), torch.empty(2, 0, dtype=torch.int64)), "matrix"),
        ((torch.eye(3), torch.tensor([[0], [3]])), "names node 3"),
        ((torch.eye(3), torch.tensor([[-1], [1]])), "names node -1"),
        ((torch.eye(3), torch.tensor([[0.0], [1.0]])), "integers of shape"),
        ((torch.eye(3), torch.tensor([0, 1])), "integers of shape"),
    ],
)
def test_bad_graphs_are_refused(name: str, graph, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(name).prepare(graph, [0, 1], torch.tensor([0, 1, 0]))


@pytest.mark.parametrize("idx", [[], [60], [-1], [0.5], torch.ones(59, dtype=torch.bool)])
def test_bad_training_nodes_are_refused(idx) -> None:
    graph, y, _ = blocks()
    with pytest.raises(DataError, match="train_idx"):
        ContextLabel("lp").prepare(graph, idx, y)


@pytest.mark.parametrize("name", TASKS)
def test_isolated_nodes_and_several_components_give_finite_losses(name: str) -> None:
    (x, edge_index), y, train = blocks()
    cut = edge_index[:, (edge_index > 9).all(0)]  # the first ten nodes are isolated
    task = make(name).prepare((x, cut), train, y)
    h = torch.randn(60, 4).double()
    assert torch.isfinite(task.loss(h, task.head(4).double()))
    if hasattr(task, "targets"):
        assert torch.isfinite(task.targets.double()).all()


# --- node property --------------------------------------------------------------------------------


@pytest.mark.parametrize(("leaves", "label"), [(2, 0), (3, 1), (7, 1), (8, 2)])
def test_degree_classes(leaves: int, label: int) -> None:
    task = NodeProperty().prepare(star(leaves))
    assert task.targets.tolist() == [label] + [0] * leaves


def test_a_self_loop_counts_two_but_not_those_of_the_convolution() -> None:
    x, edges = path(3)
    looped = torch.cat([edges, torch.tensor([[0], [0]])], 1)
    assert NodeProperty().prepare((x, looped)).targets.tolist() == [1, 0, 0]  # degree 3
    everywhere = torch.cat([edges, torch.arange(3).expand(2, -1)], 1)
    assert NodeProperty().prepare((x, everywhere)).targets.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("degree", lambda g: dict(g.degree)),
        ("pagerank", lambda g: nx.pagerank(g, alpha=0.85)),
        ("closeness", nx.closeness_centrality),
    ],
)
def test_properties_agree_with_networkx(name: str, reference) -> None:
    (x, edge_index), _, _ = blocks()
    edge_index = edge_index[:, (edge_index > 4).all(0)]
    task = NodeProperty(name, regression=True).prepare((x, edge_index))
    expected = reference(networkx_graph((x, edge_index)))
    values = torch.tensor([expected[i] for i in range(60)], dtype=torch.float64)
    torch.testing.assert_close(task.targets[:, 0], values, rtol=1e-12, atol=1e-12)
    head = task.head(4).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    expected_loss = values.square().mean()
    torch.testing.assert_close(task.loss(torch.zeros(60, 4).double(), head), expected_loss)


def test_node_property_options() -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        NodeProperty("size")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no classes"):
        NodeProperty("pagerank")


# --- pairs ----------------------------------------------------------------------------------------


def test_pair_heads_are_symmetric_and_give_the_bias_for_equal_vectors() -> None:
    h, head = torch.randn(5, 4), nn.Linear(4, 3)
    pairs = torch.tensor([[0, 1, 2], [3, 4, 2]])
    out = pair_logits(h, pairs, head)
    assert torch.equal(out, pair_logits(h, pairs.flip(0), head))
    assert torch.equal(out[2], head.bias)


def test_edge_mask_counts_pairs_and_view() -> None:
    graph, _, _ = blocks()
    task = EdgeMask().prepare(graph)
    entries = graph[1].shape[1]
    masked = entries - int(0.9 * entries)
    view = task.train_view()[1]
    assert view.shape[1] == int(0.9 * entries)
    assert task.targets.tolist() == [1] * masked + [0] * masked
    existing = set(map(tuple, graph[1].T.tolist()))
    kept = set(map(tuple, view.T.tolist()))
    pairs = list(map(tuple, task.pairs.T.tolist()))
    assert set(pairs[:masked]) == existing - kept
    assert not existing & set(pairs[masked:])
    assert len({frozenset(p) for p in pairs[masked:]}) == masked
    assert all(i != j for i, j in pairs)
    assert torch.equal(task.eval_view()[1], graph[1])
    assert torch.equal(task.train_view()[1], view), "the masked set is fixed"


def test_edge_mask_of_whole_edges_leaves_a_symmetric_graph_and_its_loops() -> None:
    (x, edge_index), _, _ = blocks()
    loops = torch.arange(60).expand(2, -1)
    task = EdgeMask(0.3, undirected=True).prepare((x, torch.cat([edge_index, loops], 1)))
    kept = set(map(tuple, task.train_view()[1].T.tolist()))
    assert {(j, i) for i, j in kept} == kept
    assert {(i, i) for i in range(60)} <= kept
    assert len(kept) == 60 + 2 * int(0.7 * edge_index.shape[1] / 2)


@pytest.mark.parametrize("ratio", [0, 0.0, 1.0, -0.1, float("nan")])
def test_edge_mask_needs_a_ratio(ratio: float) -> None:
    with pytest.raises(ConfigError, match="ratio"):
        EdgeMask(ratio)


def test_edge_mask_without_edges_or_without_empty_pairs() -> None:
    x = torch.eye(4)
    with pytest.raises(DataError, match="less than one"):
        EdgeMask().prepare((x, torch.empty(2, 0, dtype=torch.int64)))
    full = torch.combinations(torch.arange(4)).T
    with pytest.raises(DataError, match="every pair of nodes has an edge"):
        EdgeMask().prepare((x, full))


def test_distance_classes_on_a_path_are_clipped_hops() -> None:
    pairs, classes = PairwiseDistance().prepare(path(9)).sample()
    expected = (pairs[0] - pairs[1]).abs().clamp(max=4) - 1
    assert torch.equal(classes, expected)
    assert pairs.shape[1] == 9 * 8 // 2, "fewer than 4000 of a class: all of them"
    assert (pairs[0] < pairs[1]).all()


def test_nodes_without_a_path_are_in_the_last_class() -> None:
    two = torch.tensor([[0, 2], [1, 3]])
    pairs, classes = PairwiseDistance().prepare((torch.eye(4), two)).sample()
    found = {tuple(p): int(c) for p, c in zip(pairs.T.tolist(), classes, strict=True)}
    assert found == {(0, 1): 0, (2, 3): 0, (0, 2): 3, (0, 3): 3, (1, 2): 3, (1, 3): 3}


@pytest.mark.parametrize("listed", [0, 1500])
def test_distance_classes_agree_with_networkx(listed: int, monkeypatch) -> None:
    monkeypatch.setattr(_sample, "LISTED", listed)  # 0: far pairs are drawn and refused
    graph, _, _ = blocks()
    task = PairwiseDistance(pairs=40).prepare(graph)
    hops = dict(nx.all_pairs_shortest_path_length(networkx_graph(graph)))
    seen = set()
    for _ in range(5):
        pairs, classes = task.sample()
        assert torch.bincount(classes).tolist() == [40, 40, 40, 40]
        for (i, j), c in zip(pairs.T.tolist(), classes.tolist(), strict=True):
            assert min(hops[i].get(j, 99), 4) == c + 1
        assert len(set(map(tuple, pairs.T.tolist()))) == 160
        seen |= set(map(tuple, pairs.T.tolist()))
    assert len(seen) > 200, "every step draws anew"


def test_large_neighbourhoods_start_from_some_nodes(monkeypatch) -> None:
    monkeypatch.setattr(_distance, "CHUNK", 8)
    original = _distance.near_pairs
    monkeypatch.setattr(_distance, "near_pairs", lambda m, c, o: original(m, c, o, room=20))
    graph, _, _ = blocks()
    task = PairwiseDistance(pairs=10).prepare(graph)
    assert task._first is not None
    assert len(task._first) == 8
    hops = dict(nx.all_pairs_shortest_path_length(networkx_graph(graph)))
    pairs, classes = task.sample()
    for (i, j), c in zip(pairs.T.tolist(), classes.tolist(), strict=True):
        assert {i, j} & set(task._first.tolist())
        assert min(hops[i].get(j, 99), 4) == c + 1


def test_similarities_are_those_of_the_right_pairs() -> None:
    (x, edge_index), _, _ = blocks()
    task = PairwiseAttributeSimilarity(2).prepare((x, edge_index))
    unit = F.normalize(x, dim=1)
    similarity = unit @ unit.T
    i, j = task.pairs
    torch.testing.assert_close(task.targets, similarity[i, j], rtol=1e-12, atol=1e-12)
    assert (i < j).all()
    assert len(set(map(tuple, task.pairs.T.tolist()))) == len(i)
    partners = {n: [] for n in range(60)}
    for a, b, s in zip(i.tolist(), j.tolist(), task.targets.tolist(), strict=True):
        partners[a].append(s)
        partners[b].append(s)
    for n in range(60):
        others = np.sort(np.delete(similarity[n].numpy(), n))
        kept = np.sort(partners[n])
        np.testing.assert_allclose(kept[:2], others[:2], atol=1e-12)  # the k least similar
        np.testing.assert_allclose(kept[-2:], others[-2:], atol=1e-12)  # and the k most similar


def test_similarity_is_compared_one_by_one() -> None:
    (x, edge_index), _, _ = blocks(20)
    task = PairwiseAttributeSimilarity().prepare((x, edge_index))

    class Exact(nn.Module):
        def forward(self, difference: torch.Tensor) -> torch.Tensor:
            step = torch.Generator().manual_seed(7)
            return task.targets[_sample.draw(len(task.targets), 5000, step)][:, None]

    task.generator.manual_seed(7)
    assert task.loss(torch.randn(20, 3).double(), Exact()) == 0  # broadcast, it would be a variance


def test_similarity_of_rows_of_zeros_is_zero() -> None:
    task = PairwiseAttributeSimilarity().prepare((torch.zeros(5, 3), path(5)[1]))
    assert (task.targets == 0).all()


@pytest.mark.parametrize("cls", [PairwiseDistance, PairwiseAttributeSimilarity])
def test_one_node_has_no_pair(cls) -> None:
    with pytest.raises(DataError, match="one node"):
        cls().prepare((torch.ones(1, 2), torch.empty(2, 0, dtype=torch.int64)))
    with pytest.raises(ConfigError):
        cls(pairs=0)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), k=st.integers(1, 60), seed=st.integers(0, 99))
def test_draws_are_distinct_and_as_many_as_there_are(n: int, k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    drawn = _sample.draw(n, k, g).tolist()
    assert len(drawn) == len(set(drawn)) == min(n, k)
    assert set(drawn) <= set(range(n))
    exclude = np.array([0 * n + 1])
    pairs = _sample.draw_pairs(n, k, exclude, g)
    codes = pairs[0] * n + pairs[1]
    assert len(codes) == len(set(codes.tolist())) == min(k, n * (n - 1) // 2 - 1)
    assert (pairs[0] < pairs[1]).all()
    assert 1 not in codes


# --- attributes -----------------------------------------------------------------------------------


def test_attribute_mask_hides_unlabelled_nodes_and_keeps_the_graph() -> None:
    graph, y, train = blocks()
    task = AttributeMask(0.2, components=5).prepare(graph, train, y)
    x = graph[0] - graph[0].mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    expected = x @ axes[:5].T
    reduced = task.eval_view()[0]
    torch.testing.assert_close(reduced.abs(), expected.abs(), rtol=1e-8, atol=1e-9)
    assert len(task.masked) == int(45 * 0.2)
    assert not set(task.masked.tolist()) & set(train.tolist())
    seen = task.train_view()[0]
    assert (seen[task.masked] == 0).all()
    rest = torch.ones(60, dtype=torch.bool)
    rest[task.masked] = False
    assert torch.equal(seen[rest], reduced[rest])
    torch.testing.assert_close(task.targets, reduced[task.masked])
    assert torch.equal(task.train_view()[1], graph[1])


@pytest.mark.parametrize("sparse", [False, True])
def test_attribute_mask_with_features_as_they_are(sparse: bool) -> None:
    (x, edge_index), _, _ = blocks()
    given = x.to_sparse_csr() if sparse else x
    task = AttributeMask(components=100, reduce_input=False).prepare((given, edge_index))
    assert task.outputs == 24  # at most F
    assert len(task.masked) == 6  # of all nodes, without training nodes
    seen = task.train_view()[0]
    dense = seen.to_dense() if sparse else seen
    assert (dense[task.masked] == 0).all()
    assert dense.sum() == x.sum() - x[task.masked].sum()


def test_attribute_mask_bad_input() -> None:
    with pytest.raises(ConfigError):
        AttributeMask(0)
    with pytest.raises(ConfigError):
        AttributeMask(components=0)
    with pytest.raises(DataError, match="less than one"):
        AttributeMask().prepare(path(5))


# --- distances ------------------------------------------------------------------------------------


def test_distance_to_a_labelled_centre_is_one_for_every_leaf() -> None:
    y = torch.tensor([0, -1, -1, -1, -1])
    task = DistanceToLabeled().prepare(star(4), [0], y)
    assert task.targets[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]  # the centre itself: 0


def test_distance_targets_are_means_of_inverse_hops() -> None:
    graph, y, train = blocks()
    task = DistanceToLabeled().prepare(graph, train, y)
    hops = dict(nx.all_pairs_shortest_path_length(networkx_graph(graph)))
    for i in range(60):
        for c in range(3):
            found = [1 / hops[i][v] if hops[i].get(v, 0) > 0 else 0 for v in train if y[v] == c]
            assert task.targets[i, c] == pytest.approx(np.mean(found), abs=1e-12)
    assert ((task.targets >= 0) & (task.targets <= 1)).all()


def test_a_class_without_a_labelled_node_has_distance_zero() -> None:
    task = DistanceToLabeled().prepare(path(4), [0, 3], torch.tensor([0, -1, -1, 2]))
    assert (task.targets[:, 1] == 0).all()
    assert task.targets[1].tolist() == [1.0, 0.0, 0.5]


def test_distance_to_clusters_uses_the_centres_of_the_parts() -> None:
    a, b = star(6)[1], star(5)[1] + 7
    task = DistanceToClusters(2).prepare((torch.eye(13), torch.cat([a, b], 1)))
    assert sorted(task.centres.tolist()) == [0, 7]
    column = task.centres.tolist().index(7)
    assert task.targets[:, column].tolist() == [0.0] * 8 + [1.0] * 5  # no path, itself, one hop
    with pytest.raises(ConfigError, match="cannot be cut"):
        DistanceToClusters(5).prepare(path(4))
    with pytest.raises(ConfigError):
        DistanceToClusters(0)


def test_balanced_growth_is_balanced_and_cuts_few_edges() -> None:
    graph, _, _ = blocks(240)
    two = torch.cat([graph[1], graph[1] + 240, torch.tensor([[0], [240]])], 1)
    matrix = adjacency(two, 480)
    part = _partition.balanced_growth(matrix, 6)
    sizes = np.bincount(part, minlength=6)
    assert sizes.max() <= 82
    assert sizes.min() > 0
    assert sizes.sum() == 480
    rng = np.random.default_rng(0)
    random = rng.permutation(np.arange(480) % 6)
    coo = matrix.tocoo()

    def cut(p: np.ndarray) -> int:
        return int((p[coo.row] != p[coo.col]).sum())

    assert cut(part) < 0.5 * cut(random)
    assert np.array_equal(part, _partition.balanced_growth(matrix, 6)), "deterministic"


@pytest.mark.parametrize(("n", "parts"), [(1, 1), (5, 5), (7, 3), (6, 1)])
def test_every_node_of_a_graph_without_edges_has_a_part(n: int, parts: int) -> None:
    part = _partition.balanced_growth(adjacency(torch.empty(2, 0, dtype=torch.int64), n), parts)
    assert sorted(set(part.tolist())) == list(range(parts))
    assert np.bincount(part).max() <= -(-n // parts)


def test_partition_warns_without_metis(monkeypatch) -> None:
    monkeypatch.setattr(_partition.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="pymetis is not installed"):
        partition(adjacency(path(6)[1], 6), 2)


def test_partition_uses_metis_where_it_is_installed(monkeypatch) -> None:
    fake = ModuleType("pymetis")

    def part_graph(parts, adjacency):  # the arguments of the real one
        starts, targets = adjacency
        assert starts.tolist() == [0, 1, 3, 5, 6]
        assert targets.tolist() == [1, 0, 2, 1, 3, 2]
        return 1, [0, 0, 1, 1]

    fake.part_graph = part_graph  # type: ignore[attr-defined]
    fake.CSRAdjacency = lambda *parts: parts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pymetis", fake)
    monkeypatch.setattr(_partition.importlib.util, "find_spec", lambda name: fake)
    assert partition(adjacency(path(4)[1], 4), 2).tolist() == [0, 0, 1, 1]


def test_metis_cuts_a_path_in_the_middle() -> None:
    pytest.importorskip("pymetis")
    part = partition(adjacency(path(8)[1], 8), 2)
    assert part.tolist() in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)


# --- the catalogue --------------------------------------------------------------------------------


def test_published_values() -> None:
    assert published_lambda("distance-to-clusters", data="pubmed") == 2000
    assert published_lambda("corrected-label", "ensemble", "citeseer") == 8
    assert published_options("distance-to-clusters", data="pubmed") == {"clusters": 30}
    assert published_options("node-property") == {}
    options = published_options("corrected-label", "ica", "cora")
    assert options == {"source": "ica", "binarize": False, "alpha": 1.5, "n_samples": 1000}
    assert isinstance(build_task("corrected-label", **options), CorrectedLabel)
    with pytest.raises(ConfigError, match="Did you mean 'edge-mask'"):
        build_task("edge-msk")
