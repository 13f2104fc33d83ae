"""SelfTask: graph pretext tasks beside node classification, or before it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tacit.data import Source
from tacit.data.graph import GraphSource
from tacit.data.graph_batch import GraphBatch
from tacit.encoders import Encoder
from tacit.encoders.gnn import Adjacency, GCNConv
from tacit.encoders.gnn.sparse import Features, as_features
from tacit.errors import ConfigError, DataError
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.methods.predictive._tasks import build_task, published_lambda, task_options
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig

TASK_OPTIONS = (
    *["ratio", "undirected", "target", "regression", "clusters", "components"],
    *["binarize", "hops", "alpha", "n_samples", "n_prototypes"],
)
View = tuple[Features, Adjacency]


class SelfTask(Method):
    """A pretext task on one graph, beside the classification of its labelled nodes.

    L = NLL(GCN layer on dropout(h), training labels) + lam L_task(h). Stage 1 of `two_stage`, and
    `pretext`, train on lam L_task alone. Training labels are those of the public split; no other
    label is read. Every step is the whole graph. Defaults are the published ones of Cora.

    Departures from the official code, all of them repairs: centres of clusters are the nodes meant;
    similarities are compared one by one; scores of classifiers stay with their nodes; all draws are
    seeded and nothing is cached on disk; nodes without neighbours have a uniform context. See each
    task in `tacit.graphs`. `attribute-mask` reads the features as they are, so that the encoder
    fits the data, and predicts their principal components.

    The recipe trains to the last epoch; `tacit.graphs.train_with_pretext` keeps the epoch of best
    validation accuracy, as published.

    References
    ----------
    Jin et al., 2020, sections 3 and 4; official code.
    """

    paper = Paper(
        "Self-supervised Learning on Graphs: Deep Insights and New Direction",
        "Jin, Derr, Liu, Wang, Wang, Liu, Tang",
        2020,
        "https://arxiv.org/abs/2006.10141",
    )
    modalities: ClassVar[tuple[str, ...]] = ("graph",)
    uses_labels: ClassVar[bool] = True
    n_views: ClassVar[int] = 1
    in_pieces: ClassVar[bool] = False

    class Config(Method.Config):
        """Options of SelfTask."""

        task: Literal[
            "node-property",
            "edge-mask",
            "pairwise-distance",
            "distance-to-clusters",
            "attribute-mask",
            "pairwise-attribute-similarity",
            "distance-to-labeled",
            "context-label",
            "corrected-label",
        ] = Field("corrected-label", description="the pretext task")
        source: Literal["ica", "lp", "ensemble"] = Field(
            "ica", description="who guesses labels for context-label and corrected-label"
        )
        mode: Literal["joint", "two_stage", "pretext"] = Field(
            "joint", description="both losses; the task first, then labels; the task alone"
        )
        pretext_share: float = Field(
            0.5, ge=0, le=1, description="two_stage: share of the steps that is stage 1"
        )
        freeze_encoder: bool = Field(False, description="two_stage: only the classifier in stage 2")
        lam: float | None = Field(
            None, ge=0, description="weight of the task; null: published for it on Cora"
        )
        dropout: float = Field(0.5, ge=0, lt=1, description="of the hidden vectors")
        ratio: float | None = Field(None, description="edge-, attribute-mask: masked share (0.1)")
        undirected: bool | None = Field(None, description="edge-mask: whole edges (no)")
        target: Literal["degree", "pagerank", "closeness"] | None = Field(
            None, description="node-property: which one (degree)"
        )
        regression: bool | None = Field(None, description="node-property: as a number (no)")
        clusters: int | None = Field(None, description="distance-to-clusters: parts (10)")
        components: int | None = Field(None, description="attribute-mask: components (256)")
        binarize: bool | None = Field(None, description="ica: features to 0 and 1 (no)")
        hops: int | None = Field(None, description="context: radius of the neighbourhood (2)")
        alpha: float | None = Field(None, description="corrected-label: weight of correction (1.5)")
        n_samples: int | None = Field(None, description="corrected-label: nodes a step (1000)")
        n_prototypes: int | None = Field(None, description="corrected-label: a class (8)")

    def __init__(self, encoder: Encoder, config: Any = None) -> None:
        super().__init__(encoder, self.Config() if config is None else config)
        c = self.config
        if c.freeze_encoder and c.mode != "two_stage":
            raise ConfigError("freeze_encoder is for mode=two_stage.")
        self.lam = published_lambda(c.task, c.source) if c.lam is None else c.lam
        self.task = build_task(c.task, **self._task_options())
        self._seed = int(torch.randint(2**31, ()))  # of the seeded build: the same after a resume
        self._views: dict[torch.device, tuple[View, View]] = {}

    def _task_options(self) -> dict[str, Any]:
        """What the task is built with: its own options of those that are set."""
        c = self.config
        accepted = task_options(c.task)
        given = {name: getattr(c, name) for name in TASK_OPTIONS if getattr(c, name) is not None}
        foreign = [name for name in given if name not in accepted]
        if foreign:
            own = [name for name in TASK_OPTIONS if name in accepted]
            raise ConfigError(
                f"{c.task} has no option {', '.join(foreign)}; it has {', '.join(own) or 'none'}."
            )
        if "source" in accepted:
            given["source"] = c.source
        if "reduce_input" in accepted:
            given["reduce_input"] = False
        return given

    def prepare(self, source: Source) -> None:
        """Targets, the head and the classifier, whose widths the data decides."""
        if not isinstance(source, GraphSource) or source.fanouts is not None:
            raise DataError(
                f"selftask trains on one whole graph (its targets are about all nodes), but "
                f"'{source.name}' is a set of graphs or is read in sampled parts."
            )
        x, edge_index = source.whole()
        with_labels = self.config.mode != "pretext" or self.task.uses_labels
        train, y = self._training_labels(source, x.shape[0]) if with_labels else (None, None)
        generator = torch.Generator().manual_seed(self._seed)
        self.task.prepare((x, edge_index), train, y, generator)
        self._views = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.head = self.task.head(self.encoder.dim)
            if train is not None and y is not None:
                classes = int(y[train].max()) + 1
                self.classifier = GCNConv(
                    self.encoder.dim, classes, scale_bias=False, init="glorot"
                )
                self._train, self._train_y = train, y[train]

    def _training_labels(self, source: GraphSource, nodes: int) -> tuple[Tensor, Tensor]:
        """Training nodes, and (N,) their labels with -1 elsewhere."""
        rows = source.train_rows
        if source.labels is None or rows is None or not len(rows):
            raise DataError(
                f"'{source.name}' has no labelled training nodes, which "
                f"{self.config.task} in mode {self.config.mode} learns from. Use a source with a "
                "training split, or a task without labels (node-property, edge-mask ...) with "
                "--set mode=pretext."
            )
        y = np.full(nodes, -1)
        y[source.nodes[rows]] = source.labels[rows]
        return torch.from_numpy(source.nodes[rows]), torch.from_numpy(y)

    def training_loss(self, batch: Batch) -> Losses:
        graph: GraphBatch = batch.views[0]
        if graph.x.shape[0] != self.task.x.shape[0]:
            raise ConfigError("selftask needs the whole graph in every step: batch_size null.")
        c, (masked, whole) = self.config, self._on(graph.edge_index.device)
        # the trainer seeds the global generator for every step: a resumed run draws the same
        self.task.generator.manual_seed(int(torch.randint(2**62, ())))
        first = c.mode == "two_stage" and self.progress.fraction < c.pretext_share
        if c.mode == "joint":
            h, dropped = self._hidden(masked)
            pretext = self._pretext(h, dropped)
            nll = self._nll(dropped, masked)
            return Losses(nll + self.lam * pretext, {"pretext": pretext, "nll": nll})
        if first or c.mode == "pretext":
            pretext = self._pretext(*self._hidden(masked))
            return Losses(self.lam * pretext, {"pretext": pretext})
        with torch.set_grad_enabled(not c.freeze_encoder):
            dropped = self._hidden(whole)[1]
        nll = self._nll(dropped, whole)
        return Losses(nll, {"nll": nll})

    def _on(self, device: torch.device) -> tuple[View, View]:
        """(training, unchanged) graph on a device, its edges sorted once."""
        if device not in self._views:
            masked, whole = (
                (as_features(x.to(device)), Adjacency.build(edge_index.to(device), x.shape[0]))
                for x, edge_index in (self.task.train_view(), self.task.eval_view())
            )
            self._views[device] = masked, whole
        return self._views[device]

    def _hidden(self, view: View) -> tuple[Tensor, Tensor]:
        """(N, dim) hidden vectors of all nodes, before and after dropout."""
        h = self.encoder(GraphBatch(*view))  # type: ignore[arg-type]
        return h, F.dropout(h, self.config.dropout, self.training)

    def _pretext(self, h: Tensor, dropped: Tensor) -> Tensor:
        return self.task.loss(dropped if self.task.after_dropout else h, self.head)

    def _nll(self, dropped: Tensor, view: View) -> Tensor:
        train = self._train.to(dropped.device)
        logits = self.classifier(dropped, view[1], rows=train)
        return F.cross_entropy(logits, self._train_y.to(dropped.device))

    @classmethod
    def default_recipe(cls, modality: str = "graph") -> Recipe:
        """The paper's GCN and training: 200 epochs of Adam."""
        return Recipe(
            method="selftask",
            modality="graph",
            encoder="gcn",
            encoder_options={
                "hidden": 128,
                "layers": 1,
                "act": "relu",
                "feat_drop": 0.0,
                "scale_bias": False,
                "init": "glorot",
            },
            views="none",
            n_views=1,
            batch_size=None,
            epochs=200,
            precision="32",  # densities of the correction are counted at a threshold
            optimizer=OptimizerConfig(
                name="adam", lr=0.01, scale_lr=False, weight_decay=5e-4, decay_all=True
            ),
            schedule=ScheduleConfig(name="constant", warmup=0.0),
        )
