"""Published probes of graphs, and fine-tuning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tacit.data.graph import GraphSetSource
from tacit.encoders.gnn import GNNEncoder
from tacit.evaluation import evaluate_embeddings
from tacit.evaluation.graph_finetune import finetune_graphs, mean_auc, scaffold_split
from tacit.evaluation.graph_probes import linear_probe, svm_accuracy, svm_probe


def clouds(n: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % 3
    g = torch.Generator().manual_seed(seed)
    return torch.eye(3)[y] + 0.35 * torch.randn(n, 3, generator=g), y


def test_linear_probe_is_adam_on_one_layer() -> None:
    z, y = clouds()
    train, val, test = torch.arange(30), torch.arange(30, 60), torch.arange(60, 90)
    result = linear_probe(z, y, (train, val, test), lr=0.05, wd=0.01, epochs=40, seed=3)
    torch.manual_seed(3)
    layer = nn.Linear(3, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05, weight_decay=0.01)
    scores = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(layer(z[train]), y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = layer(z).argmax(1) == y
        scores.append([float(right[rows].double().mean()) for rows in (val, test)])
    best = max(range(40), key=lambda e: (scores[e][0], e))  # the later of equals
    assert result.last == scores[-1][1]
    assert (result.best, result.epoch, result.validation) == (
        scores[best][1],
        best,
        scores[best][0],
    )


def test_masks_and_positions_are_the_same_and_draws_leave_no_trace() -> None:
    z, y = clouds()
    rows = [torch.arange(30 * k, 30 * k + 30) for k in range(3)]
    masks = [torch.isin(torch.arange(90), r) for r in rows]
    before = torch.get_rng_state()
    assert linear_probe(z, y, rows, epochs=5) == linear_probe(z, y, masks, epochs=5)
    assert torch.equal(before, torch.get_rng_state())


def test_several_tasks_are_scored_by_micro_f1() -> None:
    z, y = clouds()
    tasks = torch.stack([y == 0, y != 0], dim=1).float()
    rows = torch.arange(90)
    assert linear_probe(3 * z, tasks, (rows, rows, rows), lr=0.1).last > 0.9
    constant = linear_probe(torch.zeros(90, 3), tasks, (rows, rows, rows), lr=0.1)
    # always the second task: 60 hits, 90 predicted and 90 true
    assert constant.last == pytest.approx(2 * 60 / 180)


def test_linear_probe_refuses() -> None:
    z, y = clouds()
    rows = torch.arange(90)
    with pytest.raises(ValueError, match="test mask is empty"):
        linear_probe(z, y, (rows, rows, torch.zeros(90, dtype=torch.bool)))
    with pytest.raises(ValueError, match="5 entries for 90 nodes"):
        linear_probe(z, y, (rows, torch.ones(5, dtype=torch.bool), rows))
    y[3] = -1
    with pytest.raises(ValueError, match="label -1"):
        linear_probe(z, y, (rows, rows, rows))
    z[0] = torch.nan
    with pytest.raises(ValueError):
        linear_probe(z, y, (rows, rows, rows))


def test_svm_probe_over_folds() -> None:
    z, y = clouds(120)
    mean, std = svm_probe(z, y, folds=4)
    assert 0.75 < mean <= 1
    assert 0 <= std < 0.2
    assert (mean, std) == svm_probe(z.numpy(), y.numpy(), folds=4)
    noise = torch.randn(120, 3, generator=torch.Generator().manual_seed(1))
    assert svm_probe(noise, y, folds=4)[0] < 0.55
    with pytest.raises(ValueError, match="rarest class has 40"):
        svm_probe(z, y, folds=50)


def test_svm_is_a_protocol_of_its_own() -> None:
    z, y = clouds(120)
    result = evaluate_embeddings(z[:60], y[:60], z[60:], y[60:], ["svm"])
    assert result == {"svm": {"accuracy": svm_accuracy(z[:60], y[:60], z[60:], y[60:])}}
    assert result["svm"]["accuracy"] > 0.75
    assert "svm" not in evaluate_embeddings(z[:60], y[:60], z[60:], y[60:])
    with pytest.raises(ValueError, match="one training row"):
        svm_accuracy(z[:4], y[:4], z, y)


def test_auc_leaves_out_unknown_targets_and_single_classes() -> None:
    scores = torch.tensor([[0.1, 5.0], [0.4, 5.0], [0.35, 5.0], [0.8, 5.0], [9.0, 5.0]])
    targets = torch.tensor([[0.0, 1], [0, 1], [1, 1], [1, 1], [torch.nan, 1]])
    assert mean_auc(scores, targets) == 0.75
    with pytest.raises(ValueError, match="no task has both"):
        mean_auc(scores, targets[:, 1:].expand(-1, 2))


def test_scaffolds_stay_together() -> None:
    names = ["a"] * 50 + ["b"] * 30 + ["c"] * 10 + ["d"] * 5 + ["e"] * 5
    parts = scaffold_split(names)
    assert [len(p) for p in parts] == [80, 10, 10]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    groups = [{names[i] for i in part} for part in parts]
    assert groups[0] == {"a", "b"}
    assert groups[1] == {"c"}


def rings_and_stars(n: int = 60) -> GraphSetSource:
    edges, targets = [], np.empty((n, 2), np.float32)
    for g in range(n):
        nodes = 6 * g + np.arange(6)
        ring = np.stack([nodes, np.roll(nodes, 1)])
        star = np.stack([np.full(5, nodes[0]), nodes[1:]])
        edges.append(ring if g % 2 else star)
        targets[g] = g % 2, np.nan
    x = np.ones((6 * n, 1), np.float32)
    return GraphSetSource("toy", x, np.concatenate(edges, axis=1), np.full(n, 6), targets=targets)


def test_fine_tuning_learns_and_leaves_the_encoder() -> None:
    source = rings_and_stars()
    torch.manual_seed(0)
    encoder = GNNEncoder("gin", 1, 8, 2, norm="batchnorm", feat_drop=0.0)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    splits = np.split(np.arange(60), [41, 50])
    scores = finetune_graphs(encoder, source, splits, epochs=15, batch_size=10, lr=0.01)
    assert scores["test"] == 1.0
    assert scores == finetune_graphs(encoder, source, splits, epochs=15, batch_size=10, lr=0.01)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    with pytest.raises(ValueError, match="validation split is empty"):
        finetune_graphs(encoder, source, [splits[0], splits[1][:0], splits[2]])
    with pytest.raises(ValueError, match=r"both classes in the test split \(2 graphs\)"):
        finetune_graphs(encoder, source, [splits[0], splits[1], np.array([51, 53])])
    source.targets = None
    with pytest.raises(ValueError, match="no targets"):
        finetune_graphs(encoder, source, splits)
