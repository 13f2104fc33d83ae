"""Train a node classifier with a pretext task beside it, or before it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoders.gnn import Adjacency, GCNConv
from tacit.encoders.gnn.sparse import as_features
from tacit.errors import ConfigError, DataError, did_you_mean

from ._base import PretextTask, node_positions, train_labels
from ._graph import graph_tensors

View = tuple[Any, Any]  # features and edges, in any form the networks read
MODES = ("joint", "two_stage")


class GCNLayer(nn.Module):
    """The hidden layer of the paper's GCN: ReLU(A^ X W + b), Glorot weights, zero bias.

    >>> GCNLayer(3, 2)(torch.eye(3), torch.arange(3).expand(2, 3)).shape
    torch.Size([3, 2])
    """

    def __init__(self, in_dim: int, dim: int = 128) -> None:
        super().__init__()
        self.conv = GCNConv(in_dim, dim, scale_bias=False, init="glorot")
        self.dim = dim

    def forward(self, x: Any, edge_index: Any) -> Tensor:
        return self.conv(x, edge_index).relu()  # type: ignore[no-any-return]


def plain_gcn(in_dim: int, classes: int, dim: int = 128, seed: int = 0) -> tuple[GCNLayer, GCNConv]:
    """The paper's GCN as (encoder, classifier); its weights depend on `seed` only.

    >>> encoder, classifier = plain_gcn(5, 3)
    >>> encoder.dim, classifier.out_dim
    (128, 3)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GCNLayer(in_dim, dim), GCNConv(dim, classes, scale_bias=False, init="glorot")


@dataclass
class Trained:
    """What training gave; encoder and classifier hold the weights of the best epoch.

    logits : (N, C) of all nodes on the unchanged graph, in evaluation mode.
    epoch : the epoch (from 0) these weights are from; -1 before any.
    val_accuracy : their accuracy on the validation nodes, or None.
    losses : total loss of every epoch, stage 1 first.
    """

    logits: Tensor
    epoch: int
    val_accuracy: float | None
    losses: list[float]


def train_with_pretext(
    encoder: nn.Module,
    classifier: nn.Module,
    task: PretextTask | None,
    lam: float,
    mode: Literal["joint", "two_stage"] = "joint",
    freeze_encoder: bool = False,
    *,
    y: Tensor,
    train_idx: Any,
    val_idx: Any = None,
    graph: Any = None,
    epochs: int = 200,
    pretrain_epochs: int = 200,
    lr: float = 0.01,
    weight_decay: float = 5e-4,
    dropout: float = 0.5,
    seed: int = 0,
) -> Trained:
    """Fit `classifier(dropout(encoder(x, edge_index)), edge_index)` to the training labels.

    joint: L = NLL + lam L_pretext. two_stage: first lam L_pretext alone for `pretrain_epochs`,
    then NLL alone with a new optimiser. In training the network reads the task's `train_view`, in
    stage 2 and in evaluation the unchanged graph. Adam on networks and head alike; the weights
    of the epoch of best validation accuracy are kept (the latest of equals; the last epoch
    without `val_idx`).

    That stage 2 trains the encoder too is from memory of the paper; a script of the official code
    freezes it (`freeze_encoder`).

    With lam = 0 the task takes no part and no random number: the numbers are those of the plain
    network, bit for bit, as with two_stage and pretrain_epochs = 0.

    Parameters
    ----------
    encoder : (x, edge_index) -> h (N, d), before dropout; has `dim`.
    classifier : (h, edge_index) -> logits (N, C).
    task : prepared; None = the network alone, on `graph`.
    lam : weight of the pretext loss.
    mode, freeze_encoder : see above; a frozen encoder is not trained in stage 2.
    y : (N,) int64; only the labels at `train_idx` and `val_idx` are read.
    train_idx, val_idx : positions or masks.
    graph : needed without a task.
    epochs, lr, weight_decay, dropout : of the training.
    seed : of dropout and the head's weights.

    Raises
    ------
    ConfigError : unknown mode, negative lam, freeze_encoder without two stages, neither task
        nor graph.
    DataError : the labels cannot be used.

    References
    ----------
    Jin et al., 2020, section 3.2 (joint training, two-stage training).

    >>> graph = torch.eye(4), torch.tensor([[0, 1, 2, 0, 1, 2, 3], [1, 2, 3, 0, 1, 2, 3]])
    >>> encoder, classifier = plain_gcn(4, 2)
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> fit = train_with_pretext(encoder, classifier, None, 0, y=y, train_idx=[0, 3], graph=graph)
    >>> fit.logits.argmax(1).tolist()
    [0, 0, 1, 1]
    """
    _check(task, lam, mode, freeze_encoder, graph)
    view: View = graph_tensors(graph) if task is None else task.eval_view()
    n, device = view[0].shape[0], next(encoder.parameters()).device
    train, val = (node_positions(idx, n) for idx in (train_idx, val_idx))
    train_y, val_y = (torch.from_numpy(train_labels(y, idx, n)).to(device) for idx in (train, val))
    if not len(train):
        raise DataError("train_idx is empty: there is no label to learn from.")
    sort: Callable[[View], View] = _sorted if isinstance(classifier, GCNConv) else tuple
    view = sort(view)
    beside = task is not None and lam > 0  # otherwise the task takes no part
    losses: list[float] = []
    best = _Best(encoder, classifier, view, val, val_y)

    def hidden(inputs: View) -> tuple[Tensor, Tensor]:
        h = encoder(*inputs)
        return h, F.dropout(h, dropout)

    def supervised(dropped: Tensor, inputs: View) -> Tensor:
        return F.cross_entropy(classifier(dropped, inputs[1])[train], train_y)

    def alone() -> Tensor:
        with torch.set_grad_enabled(not freeze_encoder):
            dropped = hidden(view)[1]
        return supervised(dropped, view)

    def minimise(loss: Callable[[], Tensor], *modules: nn.Module, count: int) -> None:
        for module in modules:
            module.train()
        parameters = [p for module in modules for p in module.parameters()]
        adam = torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)
        for epoch in range(count):
            value = loss()
            adam.zero_grad()
            value.backward()
            adam.step()
            losses.append(value.item())
            if classifier in modules:
                best.look(epoch)

    with torch.random.fork_rng():
        if task is not None and beside:
            torch.manual_seed(seed + 1)
            head = task.head(encoder.dim).to(device)  # type: ignore[arg-type]
            masked = sort(task.train_view())

            def pretext(h: Tensor, dropped: Tensor) -> Tensor:
                return lam * task.loss(dropped if task.after_dropout else h, head)

            def joint() -> Tensor:
                h, dropped = hidden(masked)
                return supervised(dropped, masked) + pretext(h, dropped)

            if mode == "two_stage":
                minimise(lambda: pretext(*hidden(masked)), encoder, head, count=pretrain_epochs)
        torch.manual_seed(seed)
        if beside and mode == "joint":
            minimise(joint, encoder, classifier, head, count=epochs)
        else:
            minimise(alone, *([] if freeze_encoder else [encoder]), classifier, count=epochs)
    return Trained(best.logits(), best.epoch, best.accuracy, losses)


def _sorted(view: View) -> View:
    """Sparse features and edges as tacit's layers keep them, once for all epochs."""
    x, edge_index = view
    return as_features(x), Adjacency.build(edge_index, x.shape[0])


class _Best:
    """Weights of the epoch of best validation accuracy, the latest of equals."""

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        view: View,
        val: np.ndarray,
        val_y: Tensor,
    ) -> None:
        self.networks, self.view = nn.ModuleList([encoder, classifier]), view
        self.val, self.val_y = val, val_y
        self.epoch = -1
        self.accuracy: float | None = None
        self.state: dict[str, Tensor] | None = None

    def look(self, epoch: int) -> None:
        """Keep the present weights if they are as good as any before."""
        if not len(self.val):
            self.epoch = epoch
            return
        right = self.now()[self.val].argmax(1) == self.val_y
        accuracy = float(right.double().mean())
        if self.accuracy is None or accuracy >= self.accuracy:
            self.epoch, self.accuracy = epoch, accuracy
            self.state = copy.deepcopy(self.networks.state_dict())

    @torch.no_grad()
    def now(self) -> Tensor:
        """Logits (N, C) of the present weights on the unchanged graph, in evaluation mode."""
        encoder, classifier = self.networks
        modes = [network.training for network in self.networks]
        self.networks.eval()
        logits = classifier(encoder(*self.view), self.view[1])
        for network, mode in zip(self.networks, modes):
            network.train(mode)
        return logits  # type: ignore[no-any-return]

    def logits(self) -> Tensor:
        """Put the best weights in place, leave the networks in evaluation mode; their logits."""
        if self.state is not None:
            self.networks.load_state_dict(self.state)
        self.networks.eval()
        return self.now()


def _check(
    task: PretextTask | None, lam: float, mode: str, freeze_encoder: bool, graph: Any
) -> None:
    if mode not in MODES:
        raise ConfigError(
            f"mode must be joint or two_stage, not '{mode}'.{did_you_mean(mode, MODES)}"
        )
    if not lam >= 0:
        raise ConfigError(f"lam must not be negative, not {lam}.")
    if freeze_encoder and mode == "joint":
        raise ConfigError(
            "freeze_encoder is for mode='two_stage': joint training needs the encoder."
        )
    if task is None and (graph is None or lam > 0):
        raise ConfigError("Give a prepared task, or lam=0 and graph for the network alone.")
