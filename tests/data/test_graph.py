"""Graph sources: tidy edges, splits, batches, sampling, and graphs that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tacit.data.graph import (
    GraphBatch,
    GraphSetSource,
    GraphSource,
    add_self_loops,
    tidy_edges,
)
from tacit.data.graph_edges import NeighbourSampler
from tacit.errors import DataError

EDGES = np.array([[0, 1, 1, 2, 2], [1, 0, 2, 2, 1]])  # 2-2 is a self-loop, 3 is isolated
EYE = np.eye(4, dtype=np.float32)


def pairs(edges: np.ndarray | torch.Tensor) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in np.asarray(edges).T.tolist()]


def test_duplicates_directions_and_loops_become_one_simple_graph() -> None:
    once = tidy_edges(np.array([[0, 0, 1, 2, 2], [1, 1, 0, 2, 1]]), 3)
    assert sorted(pairs(once)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    directed = tidy_edges(np.array([[0, 0, 2], [1, 1, 2]]), 3, undirected=False)
    assert pairs(directed) == [(0, 1)]
    looped = add_self_loops(torch.from_numpy(EDGES), 4)
    assert sorted(pairs(looped)) == sorted(
        [(0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (1, 1), (2, 2), (3, 3)]
    )


def test_a_batch_is_the_whole_graph_with_its_samples() -> None:
    source = GraphSource("toy", EYE, EDGES)
    whole = source.batch(range(4))
    assert whole.seeds is None
    assert len(whole) == 4
    assert (3, 3) in pairs(whole.edge_index)  # the isolated node has its self-loop
    part = source.batch([2, 0])
    assert part.seeds is not None
    assert part.seeds.tolist() == [2, 0]
    assert torch.equal(part.x, whole.x)
    sub = source.subset([3, 1]).batch([1])
    assert sub.seeds is not None
    assert sub.seeds.tolist() == [1]
    assert source.fingerprint != source.subset([3, 1]).fingerprint
    assert len(part.to("cpu")) == 2


def test_mostly_zero_features_stay_sparse() -> None:
    wide = np.zeros((4, 100), np.float32)
    wide[[0, 2], [7, 99]] = 3
    source = GraphSource("toy", wide, EDGES)
    assert sparse.issparse(source.x)
    x = source.batch(range(4)).x
    assert x.layout == torch.sparse_csr
    assert torch.equal(x.to_dense(), torch.from_numpy(wide))
    assert GraphSource("toy", sparse.csr_matrix(wide), EDGES).fingerprint == source.fingerprint


def test_whole_numbers_are_features_and_categories_only_beside_bonds() -> None:
    whole = np.eye(4, dtype=np.int64)
    assert GraphSource("toy", whole, EDGES).batch([0]).x.dtype == torch.float32
    inside = np.array([[0, 2], [1, 3]])
    assert GraphSetSource("toy", whole, inside, [2, 2]).x.dtype == np.float32
    bonds = GraphSetSource("toy", whole, inside, [2, 2], edge_attr=np.zeros((2, 2), np.int64))
    assert bonds.x.dtype == np.int64


def test_public_splits_by_mask_or_position() -> None:
    mask = np.array([True, False, False, True])
    source = GraphSource(
        "toy", EYE, EDGES, np.arange(4), train=mask, val=np.array([1]), test=np.array([2])
    )
    assert source.train_rows is not None
    assert source.train_rows.tolist() == [0, 3]
    train = source.split("train")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 3]
    assert source.split("test").labels.tolist() == [2]  # type: ignore[union-attr]
    assert train.train_rows.tolist() == [0, 1]  # type: ignore[union-attr]
    assert train.val_rows.tolist() == []  # type: ignore[union-attr]
    turned = source.subset([3, 2, 1, 0])
    assert sorted(turned.train_rows.tolist()) == [0, 3]  # type: ignore[union-attr]
    assert turned.val_rows.tolist() == [2]  # type: ignore[union-attr]
    none = GraphSource("toy", np.eye(50, dtype=np.float32), EDGES)
    assert none.train_rows is None
    assert len(none.split("train")) == 40


@pytest.mark.parametrize(
    ("x", "edges", "options", "message"),
    [
        (EYE, np.array([[0, 4], [1, 0]]), {}, r"edge 1 joins \(4, 0\), but the nodes are 0..3"),
        (EYE, np.array([[0, -1], [1, 0]]), {}, r"edge 1 joins \(-1, 0\)"),
        (EYE, np.array([[0.5], [1.0]]), {}, "node numbers"),
        (EYE, np.zeros((3, 5)), {}, r"shape \(2, E\)"),
        (np.zeros((0, 3)), np.zeros((2, 0)), {}, "there are no nodes: features must be a matrix"),
        (np.array([["a"]]), np.zeros((2, 0)), {}, "not numbers"),
        (np.full((4, 2), np.nan), EDGES, {}, "of 4 of 4 nodes hold NaN or infinity, the first is"),
        (sparse.csr_matrix(np.diag([1, 1, np.inf, 1])), EDGES, {}, "of 1 of 4 .* is node 2"),
        (EYE, EDGES, {"train": np.zeros(4, bool)}, "train split is empty"),
        (EYE, EDGES, {"test": np.ones(3, bool)}, "test mask has shape"),
        (EYE, EDGES, {"val": np.array([9])}, "val split names node 9"),
        (EYE, EDGES, {"fanouts": (0,)}, "fan-outs must be positive"),
        (EYE, EDGES, {"labels": np.arange(3)}, "3 labels for 4 samples"),
    ],
)
def test_graphs_that_cannot_be_used(x, edges, options, message) -> None:
    with pytest.raises(DataError, match=message):
        GraphSource("toy", x, edges, **options)


def test_a_graph_without_edges_has_its_loops() -> None:
    source = GraphSource("toy", EYE, np.zeros((2, 0)))
    assert pairs(source.batch([0]).edge_index) == [(i, i) for i in range(4)]


def test_the_induced_graph_knows_nothing_of_the_rest() -> None:
    source = GraphSource("toy", EYE, EDGES, np.arange(4), train=np.array([1, 2, 3]))
    alone = source.induced()
    assert alone.x.tolist() == EYE[1:].tolist()
    assert sorted(pairs(alone.edges)) == [(0, 1), (1, 0)]
    assert alone.labels is not None
    assert alone.labels.tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="no training split"):
        alone.induced()


def random_graph(n: int = 200, m: int = 1500, seed: int = 0) -> np.ndarray:
    return tidy_edges(np.random.default_rng(seed).integers(0, n, (2, m)), n)


def test_sampling_is_a_pure_function_within_the_fan_outs() -> None:
    edges = random_graph()
    sampler = NeighbourSampler(edges, 200, (3, 2))
    seeds = np.array([5, 9, 5, 77])
    nodes, sub = sampler(seeds, 1)
    again, sub_again = sampler(seeds, 1)
    assert np.array_equal(nodes, again)
    assert np.array_equal(sub, sub_again)
    assert not np.array_equal(sub, sampler(seeds, 2)[1])
    assert nodes[:3].tolist() == [5, 9, 77]
    assert len(set(nodes.tolist())) == len(nodes)
    true = set(pairs(edges))
    assert all((nodes[j], nodes[i]) in true for j, i in pairs(sub))
    assert len(set(pairs(sub))) == sub.shape[1]  # without replacement
    degree = np.bincount(edges[1], minlength=200)
    into = np.bincount(sub[1], minlength=len(nodes))
    assert into[:3].tolist() == [min(3, degree[i]) for i in (5, 9, 77)]
    assert into.max() <= 3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_all_neighbours_are_the_whole_neighbourhood(seed: int, hops: int) -> None:
    edges = random_graph(30, 40, seed)
    nodes, sub = NeighbourSampler(edges, 30, (-1,) * hops)(np.array([seed % 30]), 0)
    reached = {seed % 30}
    into: set[tuple[int, int]] = set()
    for _ in range(hops):
        into |= {(j, i) for j, i in pairs(edges) if i in reached}
        reached |= {j for j, _ in into}
    assert set(nodes.tolist()) == reached
    assert {(nodes[j], nodes[i]) for j, i in pairs(sub)} == into


def test_sampling_is_uniform() -> None:
    """Each of 4 neighbours is drawn half of the time; five standard deviations."""
    star = tidy_edges(np.array([[1, 2, 3, 4], [0, 0, 0, 0]]), 5)
    sampler = NeighbourSampler(star, 5, (2,))
    drawn = np.concatenate([sampler(np.array([0]), seed)[0][1:] for seed in range(2000)])
    counts = np.bincount(drawn, minlength=5)[1:]
    assert np.abs(counts - 1000).max() < 5 * (2000 * 0.25) ** 0.5


def test_a_sampled_batch_has_its_samples_and_their_features() -> None:
    edges = random_graph()
    x = np.random.default_rng(1).normal(size=(200, 6))
    source = GraphSource("toy", x, edges, fanouts=(4, 2))
    batch = source.batch([7, 3, 7])
    assert isinstance(batch, GraphBatch)
    assert len(batch) == 3
    assert batch.x.shape[0] < 200
    torch.testing.assert_close(batch.x[batch.seeds], torch.tensor(x[[7, 3, 7]]).float())
    assert torch.equal(batch.edge_index, source.batch([7, 3, 7]).edge_index)
    loops = (batch.edge_index[0] == batch.edge_index[1]).sum()
    assert int(loops) == batch.x.shape[0]


def set_of_graphs(**options) -> GraphSetSource:
    edges = np.array([[0, 1, 3, 4], [1, 2, 4, 5]])
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    given = {"x": x, "edges": edges, "sizes": [3, 3], "labels": np.array([0, 1]), **options}
    return GraphSetSource("toy", **given)


def test_graphs_are_joined_apart() -> None:
    source = set_of_graphs()
    batch = source.batch([1, 0, 1])
    assert len(batch) == 3
    assert batch.batch is not None
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.x[:, 0].tolist() == [6, 8, 10, 0, 2, 4, 6, 8, 10]
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    assert batch.edge_index.shape[1] == 3 * (4 + 3)
    one = source.subset([1]).batch([0])
    assert one.x[:, 0].tolist() == [6, 8, 10]


def test_attributes_stay_with_their_edges() -> None:
    edges = np.array([[4, 0, 1, 3], [3, 1, 0, 4]])
    attr = np.array([[40, 0], [1, 0], [10, 0], [34, 0]])
    source = set_of_graphs(edges=edges, edge_attr=attr)
    batch = source.batch([1])
    assert batch.edge_attr is not None
    assert pairs(batch.edge_index) == [(1, 0), (0, 1)]  # no self-loops are added
    assert batch.edge_attr[:, 0].tolist() == [40, 34]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [6, 0]}, "graph 1 has no nodes"),
        ({"sizes": [3, 4]}, "the graphs have 7 nodes, the features 6"),
        ({"edges": np.array([[0], [5]])}, "joins two graphs"),
        ({"edges": np.array([[0], [6]])}, "joins \\(0, 6\\)"),
    ],
)
def test_sets_that_cannot_be_used(options, message) -> None:
    with pytest.raises(DataError, match=message):
        set_of_graphs(**options)
