"""Joint and two-stage training, and the method: what is trained on what, bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from selftask_graphs import blocks
from torch import nn

import tacit
from tacit.data.graph import GraphSetSource, GraphSource
from tacit.encoders.gnn import GNNEncoder
from tacit.errors import ConfigError, DataError
from tacit.graphs import (
    TASKS,
    AttributeMask,
    ContextLabel,
    EdgeMask,
    NodeProperty,
    build_task,
    plain_gcn,
    train_with_pretext,
)
from tacit.methods.base import Batch, Progress
from tacit.methods.predictive.selftask import SelfTask
from tacit.recipe import Recipe
from tacit.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:The package pymetis")
LOOPS = torch.arange(60).expand(2, -1)


def graph32() -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, np.ndarray]:
    (x, edge_index), y, train = blocks()
    return (x.float(), torch.cat([edge_index, LOOPS], 1)), y, train


def fit(task, lam, mode="joint", *, epochs=8, width=24, **options):
    graph, y, train = graph32()
    val = np.setdiff1d(np.arange(30), train)
    encoder, classifier = plain_gcn(width, 3, 8, seed=3)
    known = {"y": y, "train_idx": train, "val_idx": val, "graph": graph}
    fitted = train_with_pretext(
        encoder, classifier, task, lam, mode, epochs=epochs, **{**known, **options}
    )
    return fitted, encoder, classifier


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# --- train_with_pretext ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_lambda_zero_is_the_plain_network_bit_for_bit(name: str) -> None:
    graph, y, train = graph32()
    plain, encoder, classifier = fit(None, 0)
    extra = {"reduce_input": False} if name == "attribute-mask" else {}
    task = build_task(name, **extra).prepare(graph, train, y)
    state = torch.random.get_rng_state()
    for mode in ("joint", "two_stage"):
        zero, encoder0, classifier0 = fit(task, 0.0, mode)
        assert torch.equal(zero.logits, plain.logits)
        assert zero.losses == plain.losses
        assert same_weights(encoder, encoder0)
        assert same_weights(classifier, classifier0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_two_stages_without_the_first_are_plain_training() -> None:
    graph, y, train = graph32()
    plain, _, _ = fit(None, 0)
    task = NodeProperty().prepare(graph, train, y)
    zero, _, _ = fit(task, 5, "two_stage", pretrain_epochs=0)
    assert torch.equal(zero.logits, plain.logits)
    some, _, _ = fit(task, 5, "two_stage", pretrain_epochs=3)
    assert len(some.losses) == 3 + 8
    assert not torch.equal(some.logits, plain.logits)


def test_a_frozen_encoder_is_trained_in_stage_one_only() -> None:
    graph, y, train = graph32()
    task = NodeProperty().prepare(graph, train, y)
    _, first, _ = fit(task, 5, "two_stage", epochs=0, pretrain_epochs=4)
    options = {"freeze_encoder": True, "pretrain_epochs": 4, "val_idx": None}
    _, frozen, classifier = fit(task, 5, "two_stage", **options)
    start, start_classifier = plain_gcn(24, 3, 8, seed=3)
    assert same_weights(first, frozen)
    assert not same_weights(start, frozen)
    assert not same_weights(start_classifier, classifier)
    _, tuned, _ = fit(task, 5, "two_stage", pretrain_epochs=4, val_idx=None)
    assert not same_weights(first, tuned)


def test_the_first_joint_step_is_told_by_hand() -> None:
    graph, y, train = graph32()
    task = NodeProperty().prepare(graph, train, y)
    fitted, encoder, _ = fit(task, 5.0, epochs=1, dropout=0.0, val_idx=None)
    encoder0, classifier0 = plain_gcn(24, 3, 8, seed=3)
    torch.manual_seed(1)  # the head's seed is the run's + 1
    head = task.head(8)
    a = torch.zeros(60, 60)
    a[graph[1][1], graph[1][0]] = 1
    scale = a.sum(1).rsqrt()
    a = scale[:, None] * a * scale
    w1, w2 = encoder0.conv.linear.weight, classifier0.linear.weight
    h = (a @ graph[0] @ w1.T).relu()
    nll = F.cross_entropy((a @ h @ w2.T)[train], y[train])
    loss = nll + 5 * F.cross_entropy(head(h), task.targets)
    assert fitted.losses[0] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    grad = w1.grad + 5e-4 * w1.detach()
    expected = w1.detach() - 0.01 * grad / (grad.abs() + 1e-8)
    torch.testing.assert_close(encoder.conv.linear.weight.detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("mode", ["joint", "two_stage"])
def test_every_task_trains_and_repeats(name: str, mode: str) -> None:
    graph, y, train = graph32()
    results = []
    for _ in range(2):
        task = build_task(name).prepare(graph, train, y)
        width = task.eval_view()[0].shape[1]
        fitted, _, _ = fit(task, 2.0, mode, epochs=12, width=width, pretrain_epochs=12)
        results.append(fitted)
    assert torch.equal(results[0].logits, results[1].logits)
    losses = results[0].losses
    assert np.isfinite(losses).all()
    assert losses[11] < losses[0]
    assert losses[-1] < losses[-12]


def test_the_network_reads_the_masked_graph_in_training_only() -> None:
    graph, y, train = graph32()
    task = EdgeMask(0.5).prepare(graph, train, y)
    seen: list[int] = []

    class Spy(nn.Module):
        dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(24, 4)

        def forward(self, x, edge_index):
            seen.append(edge_index.shape[1] * (1 if self.training else -1))
            return self.map(x)

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 3)

        def forward(self, h, edge_index):
            return self.map(h)

    options = {"y": y, "train_idx": train, "val_idx": [0, 1]}
    train_with_pretext(Spy(), Flat(), task, 1.0, epochs=2, **options)
    masked, whole = task.train_view()[1].shape[1], graph[1].shape[1]
    assert masked < whole
    assert seen == [masked, -whole, masked, -whole, -whole]


def test_the_best_validation_epoch_is_kept_and_the_latest_of_equals() -> None:
    graph, y, train = graph32()
    val = np.setdiff1d(np.arange(30), train)
    accuracies = []
    for epochs in range(1, 9):
        fitted, _, _ = fit(None, 0, epochs=epochs, val_idx=None)
        accuracies.append((fitted.logits[val].argmax(1) == y[val]).double().mean().item())
        assert fitted.val_accuracy is None
    best, encoder, classifier = fit(None, 0)
    expected = max(range(8), key=lambda e: (accuracies[e], e))
    assert best.epoch == expected
    assert best.val_accuracy == pytest.approx(accuracies[expected])
    with torch.no_grad():
        assert torch.allclose(best.logits, classifier(encoder(*graph), graph[1]), atol=1e-6)
    assert not encoder.training


def test_no_label_outside_training_and_validation_is_read() -> None:
    _, y, train = graph32()
    hidden = torch.full_like(y, -1)
    known = np.union1d(train, np.arange(30))
    hidden[known] = y[known]
    a, _, _ = fit(None, 0)
    b, _, _ = fit(None, 0, y=hidden)
    assert torch.equal(a.logits, b.logits)


def test_training_options_are_checked() -> None:
    graph, y, train = graph32()
    task = NodeProperty().prepare(graph, train, y)
    with pytest.raises(ConfigError, match="Did you mean 'joint'"):
        fit(task, 1, "joined")
    with pytest.raises(ConfigError, match="lam"):
        fit(task, -1)
    with pytest.raises(ConfigError, match="freeze_encoder"):
        fit(task, 1, "joint", freeze_encoder=True)
    with pytest.raises(ConfigError, match="prepared task"):
        fit(None, 1)
    with pytest.raises(ConfigError, match="prepared task"):
        fit(None, 0, graph=None)
    with pytest.raises(DataError, match="train_idx is empty"):
        fit(task, 1, train_idx=None)


# --- the method -----------------------------------------------------------------------------------


def source(**changes) -> GraphSource:
    (x, edge_index), y, train = blocks()
    given = {"train": train, "val": np.arange(5), "test": np.arange(40, 60), **changes}
    labels = given.pop("labels", y.numpy())
    return GraphSource("toy", x.numpy(), edge_index.numpy(), labels, **given)


def method(**options) -> SelfTask:
    torch.manual_seed(0)
    recipe = SelfTask.default_recipe().encoder_options
    encoder = GNNEncoder("gcn", 24, **{**recipe, "hidden": 8})
    if options.get("task") in (None, "corrected-label"):
        options.setdefault("n_samples", 20)
    return SelfTask(encoder, SelfTask.Config(**options))


def step(made: SelfTask, data: GraphSource, seed: int = 0):
    torch.manual_seed(seed)
    return made.training_loss(Batch([data.batch(np.arange(len(data)))]))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("mode", ["joint", "two_stage", "pretext"])
def test_every_task_of_the_method_reaches_the_encoder(name: str, mode: str) -> None:
    data, made = source(), method(task=name, mode=mode)
    made.prepare(data)
    losses = step(made, data)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    expected = {"pretext", "nll"} if mode == "joint" else {"pretext"}
    assert set(losses.parts) == expected
    assert made.encoder.convs[0].linear.weight.grad.abs().sum() > 0
    assert made.embed(data.batch(np.arange(60))).shape == (60, 8)
    total = made.lam * losses.parts["pretext"] + losses.parts.get("nll", 0)
    torch.testing.assert_close(losses.total, total)


def test_stage_two_learns_the_labels_on_the_unchanged_graph() -> None:
    data = source()
    made = method(task="edge-mask", mode="two_stage", dropout=0.0)
    made.prepare(data)
    made.progress = Progress(9, 9, 0.5)
    losses = step(made, data)
    assert set(losses.parts) == {"nll"}
    x, edge_index = data.whole()
    h = made.encoder(x, edge_index)
    train = torch.from_numpy(np.asarray(data.train_rows))
    nll = F.cross_entropy(
        made.classifier(h, edge_index)[train], torch.from_numpy(data.labels)[train]
    )
    torch.testing.assert_close(losses.total, nll)
    losses.total.backward()
    assert made.encoder.convs[0].linear.weight.grad is not None
    frozen = method(task="edge-mask", mode="two_stage", freeze_encoder=True)
    frozen.prepare(data)
    frozen.progress = Progress(9, 9, 0.5)
    step(frozen, data).total.backward()
    assert frozen.encoder.convs[0].linear.weight.grad is None
    assert frozen.classifier.linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", TASKS)
def test_the_method_reads_training_labels_only(name: str) -> None:
    _, y, train = blocks()
    wrong = (y.numpy() + 1) % 3
    wrong[train] = y.numpy()[train]
    totals = []
    for labels in (y.numpy(), wrong):
        data, made = source(labels=labels), method(task=name)
        made.prepare(data)
        totals.append(step(made, data).total)
    assert torch.equal(*totals)


def test_a_step_depends_on_the_trainers_seed_only() -> None:
    data, made = source(), method()
    made.prepare(data)
    twin = method()
    twin.prepare(data)
    twin.load_state_dict(copy.deepcopy(made.state_dict()))
    for seed in (3, 1):  # the twin begins at another step, as a resumed run does
        last = step(made, data, seed).total
    assert torch.equal(step(twin, data, 1).total, last)
    assert not torch.equal(step(twin, data, 2).total, last)


def test_the_method_equals_the_function_in_its_first_step() -> None:
    """Same encoder and head weights, no dropout: both give NLL + lam L_task."""
    data = source()
    made = method(task="distance-to-labeled", dropout=0.0)
    made.prepare(data)
    total = step(made, data).total
    x, edge_index = data.whole()
    h = made.encoder(x, edge_index)
    train = torch.from_numpy(np.asarray(data.train_rows))
    y = torch.from_numpy(data.labels)
    task = build_task("distance-to-labeled").prepare((x, edge_index), train, y)
    nll = F.cross_entropy(made.classifier(h, edge_index)[train], y[train])
    torch.testing.assert_close(total, nll + 100 * task.loss(h, made.head))


def test_a_subset_of_the_nodes_still_trains_on_the_whole_graph() -> None:
    data = source()
    part = data.subset(np.arange(0, 60, 2))
    made = method(task="distance-to-labeled")
    made.prepare(part)
    expected = [n for n in data.train_rows if n % 2 == 0]
    assert made._train.tolist() == expected
    assert torch.isfinite(step(made, part).total)


def test_a_part_of_the_graph_is_refused() -> None:
    data, made = source(), method()
    made.prepare(data)
    smaller = GraphSource("other", np.eye(24, dtype=np.float32)[:10], np.array([[0], [1]]))
    with pytest.raises(ConfigError, match="whole graph in every step"):
        made.training_loss(Batch([smaller.batch(np.arange(10))]))
    with pytest.raises(DataError, match="sampled parts"):
        made.prepare(source(fanouts=(3, 3)))
    several = GraphSetSource("toy", np.eye(3, dtype=np.float32), np.array([[0], [1]]), [2, 1])
    with pytest.raises(DataError, match="set of graphs"):
        made.prepare(several)


def test_data_without_training_labels_serve_tasks_without_labels() -> None:
    bare = source(labels=None, train=None, val=None, test=None)
    for options in ({"task": "edge-mask"}, {"task": "context-label", "mode": "pretext"}):
        with pytest.raises(DataError, match="no labelled training nodes"):
            method(**options).prepare(bare)
    made = method(task="edge-mask", mode="pretext")
    made.prepare(bare)
    assert torch.isfinite(step(made, bare).total)
    assert not hasattr(made, "classifier")


def test_options_reach_the_task_and_foreign_ones_are_refused() -> None:
    assert isinstance(method(task="attribute-mask", ratio=0.3).task, AttributeMask)
    assert method(task="attribute-mask").task.reduce_input is False
    made = method(task="context-label", source="lp", hops=1)
    assert isinstance(made.task, ContextLabel)
    assert (made.task.source, made.task.hops, made.lam) == ("lp", 1, 10)
    assert method(task="node-property", lam=0.25).lam == 0.25
    with pytest.raises(ConfigError, match="edge-mask has no option alpha; it has ratio"):
        method(task="edge-mask", alpha=1.0)
    with pytest.raises(ConfigError, match="freeze_encoder"):
        method(freeze_encoder=True)


def test_recipe_and_description() -> None:
    recipe = SelfTask.default_recipe("graph")
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert METHODS.get("selftask") is SelfTask
    assert "References" in (SelfTask.__doc__ or "")
    for key, field in SelfTask.Config.model_fields.items():
        assert field.description, key
    encoder = GNNEncoder("gcn", 24, **recipe.encoder_options)
    plain, _ = plain_gcn(24, 3)
    with torch.no_grad():
        encoder.convs[0].linear.weight.copy_(plain.conv.linear.weight)
        plain.conv.linear.bias.normal_()
        encoder.convs[0].linear.bias.copy_(plain.conv.linear.bias)
        (x, edge_index), _, _ = graph32()
        assert torch.equal(encoder(x, edge_index), plain(x, edge_index))


def test_a_run_by_name(tmp_path) -> None:
    run = tacit.pretrain(
        "selftask",
        source(),
        steps=4,
        n_samples=20,
        out=tmp_path / "run",
        progress=False,
    )
    assert run.embed(source()).shape == (60, 128)
