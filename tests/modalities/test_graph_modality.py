"""What the graph modality decides from the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tacit
from tacit.data.graph import GraphSetSource, GraphSource
from tacit.encoders.gnn import GNNEncoder, MoleculeEncoder
from tacit.errors import ConfigError, DataError
from tacit.methods.generative.graphmae import GraphMAE
from tacit.modalities import modality
from tacit.recipe import Recipe

GRAPH = modality("graph")
RECIPE = GraphMAE.default_recipe()


def nodes(n: int = 50, **options) -> GraphSource:
    return GraphSource("toy", np.eye(n, dtype=np.float32), np.array([[0], [1]]), **options)


def graphs(n: int = 50) -> GraphSetSource:
    return GraphSetSource("toy", np.ones((2 * n, 3)), np.zeros((2, 0)), np.full(n, 2))


def test_steps_are_the_graph_or_samples_or_graphs() -> None:
    assert GRAPH.complete(RECIPE, nodes())["batch_size"] is None
    assert GRAPH.complete(RECIPE, nodes(fanouts=(2,)))["batch_size"] == 1024
    assert GRAPH.complete(RECIPE, graphs())["batch_size"] == 32
    given = RECIPE.changed({"batch_size": 7})
    assert GRAPH.complete(given, nodes(fanouts=(2,)))["batch_size"] == 7


def test_of_a_whole_graph_every_node_is_trained_on() -> None:
    training, held = GRAPH.reservoir(nodes(), RECIPE)
    assert len(training) == 50
    assert len(held) == 50
    for source in (nodes(fanouts=(2,)), graphs()):
        training, held = GRAPH.reservoir(source, RECIPE)
        assert len(training) == 45
        assert not set(training) & set(held)


@pytest.mark.parametrize(
    ("data", "encoder", "width"),
    [
        ("planetoid:citeseer@x", "gat", 512),
        ("tu:MUTAG", "gin", 32),
        ("molecules:a.csv", "molecule", 0),
    ],
)
def test_published_data_have_their_recipe(data: str, encoder: str, width: int) -> None:
    recipe = GRAPH.default_recipe(data)
    assert isinstance(recipe, Recipe)
    assert recipe.encoder == encoder
    assert recipe.encoder_options.get("hidden", 0) == width
    assert GRAPH.default_recipe("graph:mine.npz") is None


def test_encoders_by_name_and_of_one_s_own() -> None:
    spec = GRAPH.input_spec(RECIPE, graphs())
    built = GRAPH.build_encoder("gin", spec, {"hidden": "16", "layers": 3})
    assert isinstance(built, GNNEncoder)
    assert (built.kind, built.in_dim, built.dim, len(built.convs)) == ("gin", 3, 16, 3)
    assert isinstance(GRAPH.build_encoder("molecule", spec, {"hidden": 8}), MoleculeEncoder)
    assert GRAPH.build_encoder(built, spec, {}) is built
    with pytest.raises(ConfigError, match="Did you mean 'gin'"):
        GRAPH.build_encoder("gim", spec, {})
    with pytest.raises(ConfigError, match="Did you mean 'hidden'"):
        GRAPH.build_encoder("gin", spec, {"hiden": 3})
    with pytest.raises(ConfigError, match="GraphBatch"):
        GRAPH.build_encoder(nn.Linear(3, 3), spec, {})


def test_categories_need_an_encoder_that_reads_them() -> None:
    atoms, bond = np.zeros((4, 2), np.int64), np.zeros((2, 2), np.int64)
    source = GraphSetSource("m", atoms, np.array([[0, 2], [1, 3]]), [2, 2], edge_attr=bond)
    with pytest.raises(DataError, match="use the method graphmae-molecules, or the encoder molec"):
        GRAPH.complete(Recipe(modality="graph", encoder="gin"), source)
    assert GRAPH.complete(Recipe(modality="graph", encoder="molecule"), source)


def test_an_encoder_of_molecules_needs_bonds() -> None:
    for source in (nodes(), graphs()):
        with pytest.raises(DataError, match="has no atoms and bonds"):
            GRAPH.complete(Recipe(modality="graph", encoder="molecule"), source)


def test_other_widths_are_refused() -> None:
    with pytest.raises(DataError, match=r"50 features a node.*run was trained on 3"):
        GRAPH.check(nodes(), GRAPH.input_spec(RECIPE, graphs()), "run")


def test_raw_features_of_nodes_and_graphs() -> None:
    assert GRAPH.raw_features(nodes(), np.array([4, 2])).argmax(1).tolist() == [4, 2]
    assert GRAPH.raw_features(graphs(), np.array([0])).tolist() == [[1, 1, 1]]
    raw = graphs().batch([0])
    view = GRAPH.training_views(RECIPE, {})
    assert view(raw, torch.Generator()) == [raw]
    assert GRAPH.eval_view({})(raw) is raw


def test_several_tasks_a_graph_are_not_labels(tmp_path: Path) -> None:
    tasks = np.zeros((20, 2), np.float32)
    source = GraphSetSource("t", np.ones((40, 3)), np.zeros((2, 0)), np.full(20, 2), targets=tasks)
    options = {"steps": 1, "encoder_options": {"hidden": 8}, "progress": False}
    run = tacit.pretrain("graphmae", source, out=tmp_path / "r", **options)
    with pytest.raises(DataError, match=r"several tasks a graph .* tacit\.graphs\.finetune_graphs"):
        run.evaluate("knn", data=source)
