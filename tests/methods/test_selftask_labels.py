"""Guessed labels, their context and their correction, against plain references."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selftask_graphs import blocks, path
from sklearn.linear_model import LogisticRegression

from tacit.errors import ConfigError, DataError
from tacit.graphs import (
    ContextLabel,
    CorrectedLabel,
    context_distribution,
    iterative_classification,
    label_propagation,
    prototype_label_correction,
)
from tacit.methods.predictive._tasks._graph import adjacency
from tacit.methods.predictive._tasks._pseudo import propagated_labels, sweep_batches

# --- label propagation ----------------------------------------------------------------------------


def test_labels_spread_along_a_path() -> None:
    y = torch.tensor([0, -1, -1, 1])
    scores = label_propagation(path(4)[1], y, [0, 3], iters=500)
    expected = torch.tensor([[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)
    assert label_propagation(path(4)[1], y, [0, 3]).argmax(1).tolist() == [0, 0, 1, 1]


def test_scores_grow_with_the_iterations_and_sum_to_at_most_one() -> None:
    graph, y, train = blocks()
    last = torch.zeros(60, 3, dtype=torch.float64)
    for iters in range(1, 12):
        scores = label_propagation(graph[1], y, train, iters=iters)
        assert (scores >= last - 1e-15).all()
        assert (scores.sum(1) <= 1 + 1e-12).all()
        last = scores


def test_one_iteration_is_the_base_and_two_are_shares_of_neighbours() -> None:
    graph, y, train = blocks()
    one = label_propagation(graph[1], y, train, iters=1)
    assert one.sum() == len(train)
    matrix = torch.from_numpy(adjacency(graph[1], 60).toarray())
    two = label_propagation(graph[1], y, train, iters=2)
    expected = matrix @ one / matrix.sum(1, keepdim=True).clamp(min=1)
    expected[train] = one[train]
    torch.testing.assert_close(two, expected, rtol=1e-12, atol=1e-12)


def test_unreached_nodes_have_no_score_and_the_class_labelled_first() -> None:
    y = torch.tensor([2, 0, -1, -1])
    scores = label_propagation(torch.tensor([[0], [1]]), y, [0, 1])
    assert (scores[2:] == 0).all()
    assert propagated_labels(scores, y, [0, 1]).tolist() == [2, 0, 2, 2]


def test_number_of_classes() -> None:
    y = torch.tensor([0, -1, -1, 1])
    assert label_propagation(path(4)[1], y, [0, 3], num_classes=5).shape == (4, 5)
    with pytest.raises(ConfigError, match="2 classes"):
        label_propagation(path(4)[1], y, [0, 3], num_classes=1)
    with pytest.raises(ConfigError, match="iters"):
        label_propagation(path(4)[1], y, [0, 3], iters=0)


# --- iterative classification ---------------------------------------------------------------------


def one_by_one(x, matrix, y, train, iters):
    """The sweeps as they are told: a node at a time."""
    n, eye = len(x), np.eye(y.max() + 1)
    local = LogisticRegression().fit(x[train], y[train])
    labels = local.predict(x)
    labels[train] = y[train]
    counts = np.array([eye[labels[matrix[i] > 0]].sum(0) for i in train])
    relational = LogisticRegression().fit(np.hstack([x[train], counts]), y[train])
    proba = eye[labels].copy()
    for _ in range(iters):
        for i in np.setdiff1d(np.arange(n), train):
            row = np.hstack([x[i], eye[labels[matrix[i] > 0]].sum(0)])[None]
            labels[i] = relational.predict(row)[0]
            proba[i] = relational.predict_proba(row)[0]
    return labels, proba


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_batched_sweeps_equal_those_one_by_one(classes: int, seed: int) -> None:
    graph, y, train = blocks(60, seed)
    y = y.clamp(max=classes - 1)
    labels, proba = iterative_classification(*graph, y, train, iters=3)
    matrix = adjacency(graph[1], 60).toarray()
    expected, chances = one_by_one(graph[0].numpy(), matrix, y.numpy(), train, 3)
    assert labels.tolist() == expected.tolist()
    np.testing.assert_allclose(proba, chances, atol=1e-12)
    assert torch.equal(labels[train], y[train])
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-12)


def test_scores_stay_with_their_nodes() -> None:
    graph, y, train = blocks()
    assert train.tolist() != list(range(15)), "training nodes are not the first ones"
    labels, proba = iterative_classification(*graph, y, train)
    assert torch.equal(proba.argmax(1), labels)


def test_binary_features() -> None:
    (x, edge_index), y, train = blocks()
    scaled = x * torch.rand(60, 1, dtype=torch.float64, generator=torch.Generator()).add(0.1)
    plain = iterative_classification(x, edge_index, y, train)
    binary = iterative_classification(scaled, edge_index, y, train, binarize=True)
    assert torch.equal(plain[1], binary[1])
    assert not torch.equal(iterative_classification(scaled, edge_index, y, train)[1], plain[1])


def test_a_class_that_is_not_labelled_is_never_guessed() -> None:
    graph, y, train = blocks()
    shifted = torch.where(y == 1, 3, y)  # classes 0, 2, 3
    labels, proba = iterative_classification(*graph, shifted, train)
    assert proba.shape == (60, 4)
    assert (proba[:, 1] == 0).all()
    assert set(labels.tolist()) <= {0, 2, 3}


def test_one_class_is_refused() -> None:
    graph, _, train = blocks()
    with pytest.raises(DataError, match="one class only"):
        iterative_classification(*graph, torch.zeros(60, dtype=torch.int64), train)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 25), seed=st.integers(0, 999))
def test_batches_respect_the_order_of_the_sweep(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    linked = np.triu(rng.random((n, n)) < 0.2, 1)
    matrix = adjacency(torch.from_numpy(np.stack(np.nonzero(linked))), n)
    nodes = np.flatnonzero(rng.random(n) < 0.8)
    batches = sweep_batches(matrix, nodes)
    when = {int(node): k for k, batch in enumerate(batches) for node in batch}
    assert sorted(when) == nodes.tolist()
    for i, j in zip(*np.nonzero(linked), strict=True):
        if int(i) in when and int(j) in when:
            assert when[int(i)] < when[int(j)]


# --- context --------------------------------------------------------------------------------------


def test_context_counts_neighbours_and_their_neighbours() -> None:
    graph, y, _ = blocks()
    q = context_distribution(graph[1], y)
    made = nx.Graph(graph[1].T.tolist())
    for i in range(60):
        near = list(made[i]) if i in made else []
        far = {k for j in near for k in made[j]} - {i}
        counts = np.bincount([int(y[j]) for j in [*near, *far]], minlength=3)
        expected = counts / counts.sum() if counts.sum() else np.full(3, 1 / 3)
        np.testing.assert_allclose(q[i], expected, atol=1e-15)
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-12)


def test_context_does_not_know_the_nodes_own_label() -> None:
    (_, edge_index), y, _ = blocks()
    looped = torch.cat([edge_index, torch.tensor([[3], [3]])], 1)
    q = context_distribution(looped, y)
    for label in range(3):
        changed = y.clone()
        changed[3] = label
        assert torch.equal(context_distribution(looped, changed)[3], q[3])


def test_context_is_one_hot_where_all_agree_and_uniform_where_there_is_nobody() -> None:
    edges = torch.tensor([[0, 1], [1, 2]])
    q = context_distribution(edges, torch.tensor([0, 2, 2, 1]), num_classes=4)
    assert q[0].tolist() == [0, 0, 1, 0]
    assert q[3].tolist() == [0.25] * 4
    assert context_distribution(edges, torch.tensor([0, 2, 2, 1]), hops=1)[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize("pred", [[0.5, 1.0], [0, -1], [[0], [1]], []])
def test_context_refuses_what_is_no_label(pred) -> None:
    with pytest.raises(DataError):
        context_distribution(torch.empty(2, 0, dtype=torch.int64), torch.tensor(pred))
    with pytest.raises(ConfigError, match="hops"):
        context_distribution(torch.tensor([[0], [1]]), torch.tensor([0, 1]), hops=0)


@pytest.mark.parametrize("source", ["ica", "lp", "ensemble"])
def test_context_label_targets_and_loss(source: str) -> None:
    graph, y, train = blocks()
    task = ContextLabel(source, dropout=0).prepare(graph, train, y)
    scores = label_propagation(graph[1], y, train)
    labels, proba = iterative_classification(*graph, y, train)
    guesses = {
        "lp": propagated_labels(scores, y, train),
        "ica": labels,
        "ensemble": (scores + proba).argmax(1),
    }
    assert torch.equal(task.pred, guesses[source])
    assert torch.equal(task.pred[train], y[train])
    q = context_distribution(graph[1], task.pred, num_classes=3)
    assert torch.equal(task.targets, q)
    head, h = task.head(5).double(), torch.randn(60, 5).double()
    rest = np.setdiff1d(np.arange(60), train)
    expected = (head(h).softmax(1) - q)[rest].square().mean()
    torch.testing.assert_close(task.loss(h, head), expected)


def test_context_dropout_is_always_on() -> None:
    graph, y, train = blocks()
    task = ContextLabel("lp", dropout=0.5).prepare(graph, train, y)
    assert not task.after_dropout
    head, h = task.head(64).double().eval(), torch.ones(60, 64).double()
    first, second = task.loss(h, head), task.loss(h, head)
    assert first != second
    torch.nn.init.zeros_(head.weight)
    assert task.loss(h, head) == task.loss(h, head)


@pytest.mark.parametrize("options", [{"hops": 0}, {"dropout": 1.0}, {"source": "icq"}])
def test_context_label_options(options) -> None:
    with pytest.raises(ConfigError, match=r"hops|source"):
        ContextLabel(**options)


# --- correction -----------------------------------------------------------------------------------


def separated(noise: float = 0.3, n: int = 90) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three distant blobs, their labels, and the labels with one in ten flipped."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    h = torch.eye(6, dtype=torch.float64)[y] + noise / 4 * torch.randn(n, 6, generator=g).double()
    noisy = y.clone()
    noisy[::10] = (noisy[::10] + 1) % 3
    return h, y, noisy


def told(h, pred, sampled, count=8):
    """The correction as it is told, with all members as candidates."""
    unit = (h / h.norm(dim=1, keepdim=True)).numpy()
    scores = np.full((len(sampled), int(pred.max()) + 1), -np.inf)
    for c in range(scores.shape[1]):
        members = np.flatnonzero(pred.numpy() == c)
        if not len(members):
            continue
        s = unit[members] @ unit[members].T
        threshold = np.percentile(s, 40)
        rho = np.array([np.sign(row - threshold).sum() for row in s])
        eta = np.empty(len(members))
        for i in range(len(members)):
            denser = rho > rho[i]
            eta[i] = s[i][denser].max() if denser.any() else s[i].min()
        kept = np.where(eta >= 0.95, 0, rho)
        best = members[np.argsort(kept, kind="stable")[-count:]]
        scores[:, c] = (unit[sampled] @ unit[best].T).mean(1)
    return scores.argmax(1)


@pytest.mark.parametrize("seed", range(4))
def test_correction_follows_its_description(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(120, 5, generator=g).double() + 2 * torch.eye(5).double()[torch.arange(120) % 4]
    pred = torch.randint(4, (120,), generator=g)
    sampled = torch.arange(0, 120, 2)
    ours = prototype_label_correction(h, pred, sampled)
    assert ours.tolist() == told(h, pred, sampled.numpy()).tolist()


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_separated_classes_get_their_labels_back(noise: float) -> None:
    h, y, noisy = separated(noise)
    everything = torch.arange(90)
    assert (noisy != y).sum() == 9
    assert torch.equal(prototype_label_correction(h, noisy, everything), y)
    for scale in (1e-3, 7.0):
        assert torch.equal(prototype_label_correction(scale * h, noisy, everything), y)


def test_correction_with_few_members_and_empty_classes() -> None:
    h, y, _ = separated()
    pred = torch.full((90,), 5)
    pred[0], pred[1] = 0, 1  # single members, class 2..4 empty
    out = prototype_label_correction(h, pred, torch.arange(90), num_classes=9)
    assert set(out.tolist()) <= {0, 1, 5}
    assert prototype_label_correction(h, y, torch.arange(0)).tolist() == []


def test_candidates_are_drawn_by_the_generator() -> None:
    h = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).double()
    pred = torch.arange(300) % 2

    def corrected(seed: int) -> list[int]:
        g = torch.Generator().manual_seed(seed)
        options = {"n_candidates": 12, "n_prototypes": 2, "generator": g}
        return prototype_label_correction(h, pred, torch.arange(300), **options).tolist()

    assert corrected(1) == corrected(1)
    assert corrected(1) != corrected(2)


def test_correction_bad_input() -> None:
    h, y, _ = separated()
    with pytest.raises(ConfigError, match="positive"):
        prototype_label_correction(h, y, torch.arange(3), 0)
    with pytest.raises(DataError, match="h must be"):
        prototype_label_correction(h, y[:-1], torch.arange(3))
    with pytest.raises(DataError, match=rf"sampled names nodes 0\.\.{len(h)}, but the nodes are"):
        prototype_label_correction(h, y, torch.tensor([0, len(h)]))


def test_corrected_label_adds_the_corrected_context() -> None:
    graph, y, train = blocks()
    plain = ContextLabel("lp", dropout=0).prepare(graph, train, y)
    task = CorrectedLabel("lp", alpha=2.0, n_samples=20, dropout=0).prepare(graph, train, y)
    h = torch.randn(60, 5).double()
    head = task.head(5).double()
    task.generator.manual_seed(4)
    loss = task.loss(h, head)
    task.generator.manual_seed(4)
    sampled, context = task.corrected(h)
    assert len(sampled) == 20
    assert not set(sampled.tolist()) & set(train.tolist())
    labels = plain.pred.clone()
    g = torch.Generator().manual_seed(4)
    drawn = plain.unlabelled[torch.randperm(45, generator=g)[:20]]
    assert torch.equal(drawn, sampled)
    labels[sampled] = prototype_label_correction(h, plain.pred, sampled, num_classes=3)
    torch.testing.assert_close(context, context_distribution(graph[1], labels)[sampled])
    extra = (head(h).softmax(1)[sampled] - context).square().mean()
    torch.testing.assert_close(loss, plain.loss(h, head) + 2 * extra)
    assert torch.equal(task.pred, plain.pred), "corrections are not kept"


def test_corrected_label_limits_and_options() -> None:
    graph, y, train = blocks()
    context = ContextLabel("ensemble", hops=1, dropout=0, binarize=True)
    task = CorrectedLabel(context, alpha=0)
    assert (task.source, task.hops, task.dropout, task.binarize) == ("ensemble", 1, 0, True)
    h = torch.randn(60, 5).double()
    head = task.prepare(graph, train, y).head(5).double()
    assert task.loss(h, head) == context.prepare(graph, train, y).loss(h, head)
    many = CorrectedLabel("lp", n_samples=10**6).prepare(graph, train, y)
    assert len(many.corrected(h)[0]) == 45
    for bad in ({"alpha": -1}, {"alpha": float("nan")}, {"n_samples": 0}, {"n_prototypes": 0}):
        with pytest.raises(ConfigError, match="alpha"):
            CorrectedLabel("lp", **bad)
