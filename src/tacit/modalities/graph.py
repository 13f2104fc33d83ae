"""Graphs: nodes of one graph, or whole graphs, read by message passing."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from tacit.data import Source
from tacit.data.graph import GraphSource
from tacit.encoders.base import Encoder
from tacit.encoders.gnn import GNNEncoder, MoleculeEncoder, global_pool
from tacit.encoders.named import build_named, named
from tacit.errors import ConfigError, DataError
from tacit.methods.generative._graphmae_presets import preset
from tacit.methods.generative.graphmae import GraphMAE
from tacit.methods.generative.graphmae_molecules import GraphMAEMolecules
from tacit.modalities.base import Modality
from tacit.recipe import Recipe
from tacit.seeds import seed_of

ENCODERS: dict[str, tuple[type[Encoder], dict[str, Any]]] = {
    kind: (GNNEncoder, {"kind": kind}) for kind in ("gat", "dotgat", "gcn", "gin", "sage")
}
MOLECULE = "molecule"  # the encoder of atoms and bonds
KIND = "graph encoder"  # in messages
GRAPHS_A_STEP = 32
NODES_A_STEP = 1024


class Same(nn.Module):
    """The batch as it is: methods corrupt graphs themselves. One view in training."""

    def forward(self, raw: Any, generator: torch.Generator | None = None) -> Any:
        return raw if generator is None else [raw]


class Graph(Modality):
    """Graphs with features of their nodes.

    A whole graph is one step (`batch_size` null); from 200,000 nodes, steps are sampled
    neighbourhoods of 1,024 nodes. Sets of graphs take 32 graphs a step.
    """

    name: ClassVar[str] = "graph"
    default_method: ClassVar[str] = "graphmae"
    unused: ClassVar[tuple[str, ...]] = ("image_size", "views", "n_views")

    def default_recipe(self, data: str) -> Recipe | None:
        """GraphMAE's own configuration of a published data set; its other form for molecules."""
        kind, _, rest = data.partition(":")
        if kind == "molecules":
            return GraphMAEMolecules.default_recipe()
        try:
            return preset(rest.partition("@")[0]).recipe("graphmae")
        except ConfigError:
            return None

    def method_recipe(self, method: Any, data: str) -> Recipe:
        """GraphMAE's published configuration of this data set, where there is one."""
        published = self.default_recipe(data) if method is GraphMAE else None
        if published is not None and published.method == "graphmae":
            return published
        return super().method_recipe(method, data)

    def complete(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        size = recipe.batch_size
        if size is None and isinstance(source, GraphSource):
            size = None if source.fanouts is None else NODES_A_STEP
        elif size is None:
            size = min(GRAPHS_A_STEP, len(self.reservoir(source, recipe)[0]))
        encoder = recipe.encoder or "gat"
        if encoder in ENCODERS and np.issubdtype(source.x.dtype, np.integer):  # type: ignore[attr-defined]
            raise DataError(
                f"the features of '{source.name}' are categories (atom types), which the encoder "
                f"'{encoder}' cannot read: use the method graphmae-molecules, or the encoder "
                "molecule."
            )
        if encoder == MOLECULE and getattr(source, "edge_attr", None) is None:
            raise DataError(
                f"'{source.name}' has no atoms and bonds, which the encoder molecule reads: use "
                "molecules:FILE.csv, or another method and encoder."
            )
        return {"encoder": encoder, "batch_size": size}

    def input_spec(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        return {"in_dim": int(source.width)}  # type: ignore[attr-defined]

    def check_encoder(self, name: str) -> None:
        if name != MOLECULE:
            named(KIND, ENCODERS, name)

    def build_encoder(
        self, name: str | nn.Module, spec: dict[str, Any], options: dict[str, Any]
    ) -> Encoder:
        if isinstance(name, nn.Module):
            if not isinstance(name, Encoder):
                raise ConfigError(
                    "a graph encoder of your own must be a tacit.encoders.Encoder whose `features` "
                    "takes a tacit.data.graph.GraphBatch"
                )
            return name
        if name == MOLECULE:
            return build_named(KIND, {MOLECULE: (MoleculeEncoder, {})}, name, options)
        return build_named(KIND, ENCODERS, name, options, in_dim=spec["in_dim"])

    def training_views(self, recipe: Recipe, spec: dict[str, Any]) -> nn.Module:
        return Same()

    def eval_view(self, spec: dict[str, Any]) -> nn.Module:
        return Same()

    def check(self, source: Source, spec: dict[str, Any], where: str) -> None:
        width = source.width  # type: ignore[attr-defined]
        if width != spec["in_dim"]:
            raise DataError(
                f"'{source.name}' has {width} features a node, but the encoder of {where} was "
                f"trained on {spec['in_dim']}."
            )

    def reservoir(self, source: Source, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Of one whole graph every node takes part in training, those looked at too."""
        if not isinstance(source, GraphSource) or source.fanouts is not None:
            return super().reservoir(source, recipe)
        order = np.random.default_rng(seed_of(recipe.seed, 7)).permutation(len(source))
        return np.arange(len(source)), np.sort(order[: recipe.monitor.samples])

    def raw_features(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """Features of the nodes; of graphs, the mean over their nodes."""
        batch = source.batch(positions)
        x = batch.x.to_dense() if batch.x.layout != torch.strided else batch.x
        if batch.batch is not None:
            return global_pool(x.float(), batch.batch, "mean", len(batch)).numpy()
        return (x if batch.seeds is None else x[batch.seeds]).float().numpy()
