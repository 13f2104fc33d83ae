"""Fine-tuning on labelled graphs: the transfer protocol of molecules."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.data.graph import GraphSetSource
from tacit.encoders.base import Encoder


def finetune_graphs(
    encoder: Encoder,
    source: GraphSetSource,
    splits: Sequence[np.ndarray],
    *,
    epochs: int = 100,
    batch_size: int = 32,
    lr: float = 1e-3,
    dropout: float = 0.5,
    step_schedule: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """ROC-AUC after training encoder and a linear head on labelled graphs.

    The encoder (a copy: the given one stays) gets the dropout between its layers and a linear head
    on the pooled vectors; Adam on everything, binary cross-entropy over the labelled tasks.

    Parameters
    ----------
    encoder : pre-trained or new; its `dropout` module, where it has one, is set.
    source : graphs with `targets` (G, tasks) in {0, 1}, NaN where unknown.
    splits : training, validation and test positions.
    epochs, batch_size, lr, dropout : the published ones by default.
    step_schedule : learning rate times 0.3 after every 30 epochs (published for BACE).
    seed : of head, order and dropout.

    Returns
    -------
    "validation" and "test": the mean ROC-AUC over the tasks that have both classes there.

    Raises
    ------
    ValueError : no targets, an empty split, no task with both classes.

    References
    ----------
    Hou et al., GraphMAE, 2022, section 4.3; Hu et al., 2020.
    """
    if source.targets is None:
        raise ValueError(f"'{source.name}' has no targets (graphs, tasks) to fine-tune on")
    for name, rows in zip(("training", "validation", "test"), splits):
        if not len(rows):
            raise ValueError(f"the {name} split is empty")
    targets = torch.from_numpy(np.asarray(source.targets, np.float32))
    for name, rows in zip(("validation", "test"), splits[1:]):
        if not _tasks_with_both(targets[rows]):  # before an hour of training, not after
            raise ValueError(
                f"no task has both classes in the {name} split ({len(rows)} graphs): ROC-AUC is "
                "not defined there; use other splits or more graphs"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(encoder)
        inner = getattr(network, "dropout", None)
        if isinstance(inner, nn.Dropout):
            inner.p = dropout
        head = nn.Linear(encoder.dim, targets.shape[1])
        both = nn.ModuleList([network, head])
        optimizer = torch.optim.Adam(both.parameters(), lr=lr)
        order = np.random.default_rng(seed)
        for epoch in range(epochs):
            if step_schedule and epoch and epoch % 30 == 0:
                optimizer.param_groups[0]["lr"] *= 0.3
            both.train()
            for rows in _batches(order.permutation(splits[0]), batch_size):
                loss = _loss(head(network(source.batch(rows))), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        both.eval()
        scores = {}
        for name, rows in zip(("validation", "test"), splits[1:]):
            with torch.no_grad():
                parts = [
                    head(network(source.batch(part)))
                    for part in np.array_split(rows, -(-len(rows) // 256))
                ]
            scores[name] = mean_auc(torch.cat(parts), targets[rows])
    return scores


def mean_auc(scores: Tensor, targets: Tensor) -> float:
    """Mean ROC-AUC over the tasks (columns) that have both classes; NaN targets are left out.

    >>> mean_auc(torch.tensor([[0.1], [0.9]]), torch.tensor([[0.0], [1.0]]))
    1.0
    """
    from sklearn.metrics import roc_auc_score

    values = []
    for task in _tasks_with_both(targets):
        known = ~targets[:, task].isnan()
        values.append(roc_auc_score(targets[known, task].numpy(), scores[known, task].numpy()))
    if not values:
        raise ValueError("no task has both classes in this split: ROC-AUC is not defined")
    return float(np.mean(values))


def _tasks_with_both(targets: Tensor) -> list[int]:
    """Columns in which both 0 and 1 are known."""
    both = (targets == 0).any(0) & (targets == 1).any(0)
    return both.nonzero()[:, 0].tolist()


def scaffold_split(
    scaffolds: Sequence[str], train: float = 0.8, val: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Molecules of one scaffold stay together; the largest groups go to training first.

    Parameters
    ----------
    scaffolds : the Bemis-Murcko scaffold of every molecule (any string that names its group).
    train, val : shares; the rest is for testing.

    >>> [part.tolist() for part in scaffold_split(["a"] * 8 + ["b", "c"])]
    [[0, 1, 2, 3, 4, 5, 6, 7], [9], [8]]
    """
    groups: dict[str, list[int]] = {}
    for i, scaffold in enumerate(scaffolds):
        groups.setdefault(scaffold, []).append(i)
    n = len(scaffolds)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for group in sorted(groups.values(), key=lambda g: (len(g), g[0]), reverse=True):
        if len(parts[0]) + len(group) <= train * n:
            parts[0].extend(group)
        elif len(parts[0]) + len(parts[1]) + len(group) <= (train + val) * n:
            parts[1].extend(group)
        else:
            parts[2].extend(group)
    first, second, third = (np.array(sorted(part), np.int64) for part in parts)
    return first, second, third


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Batches of `size`; a last one of a single graph joins the one before (batch norm)."""
    cut = list(range(size, len(rows), size))
    if cut and len(rows) - cut[-1] == 1:
        cut.pop()
    return np.split(rows, cut)


def _loss(out: Tensor, target: Tensor) -> Tensor:
    known = ~target.isnan()
    return F.binary_cross_entropy_with_logits(out[known], target[known])
