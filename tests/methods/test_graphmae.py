"""GraphMAE: the loss written out, what the decoder may see, presets, molecules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

import tacit
from tacit.data.graph import GraphBatch, GraphSetSource, GraphSource
from tacit.encoders.gnn import GNNEncoder, MoleculeEncoder
from tacit.encoders.gnn.sparse import SparseRows
from tacit.errors import ConfigError
from tacit.losses import scaled_cosine_error
from tacit.methods.base import Batch
from tacit.methods.generative import graphmae
from tacit.methods.generative._graphmae_presets import PRESETS
from tacit.methods.generative.graphmae import GraphMAE
from tacit.methods.generative.graphmae_molecules import GraphMAEMolecules
from tacit.views.graph import MaskedNodes, draw_masked_nodes

N, WIDTH = 20, 30


@pytest.fixture
def x() -> Tensor:
    g = torch.Generator().manual_seed(0)
    dense = torch.rand(N, WIDTH, generator=g, dtype=torch.float64)
    return dense * (torch.rand(N, WIDTH, generator=g) < 0.2)


@pytest.fixture
def edges() -> Tensor:
    """A ring of nodes 0..18 with loops; node 19 has its loop only."""
    ring = torch.stack([torch.arange(19), (torch.arange(19) + 1) % 19])
    return torch.cat([ring, ring.flip(0), torch.arange(N).expand(2, N)], dim=1)


def model(kind: str = "gat", norm: str | None = None, **options: object) -> GraphMAE:
    torch.manual_seed(0)
    encoder = GNNEncoder(kind, WIDTH, 16, 2, 2, norm, feat_drop=0.0, attn_drop=0.0)  # type: ignore[arg-type]
    made = GraphMAE(encoder, **{"decoder_kind": kind, **options}).double()
    torch.nn.init.normal_(made.token)
    return made


def seeded(made: GraphMAE, x: Tensor, edges: Tensor) -> Tensor:
    torch.manual_seed(1)
    return made(x, edges)


@pytest.mark.parametrize("kind", ["gat", "dotgat", "gcn", "gin", "mlp", "linear"])
@pytest.mark.parametrize("loss", ["sce", "mse"])
@pytest.mark.parametrize("concat", [False, True])
def test_the_loss_written_out(kind: str, loss: str, concat: bool, x: Tensor, edges: Tensor) -> None:
    made = model("gat", decoder_kind=kind, loss=loss, concat_hidden=concat, replace_rate=0.3).eval()
    got = seeded(made, x, edges)
    torch.manual_seed(1)
    nodes = draw_masked_nodes(N, 0.5, 0.3)
    shown = x.clone()
    shown[nodes.token] = made.token.detach()
    shown[nodes.noise] = x[nodes.noise_source]
    states = made.encoder.hidden_states(shown, edges)
    r = made.bridge(torch.cat(states, dim=1) if concat else states[-1])
    if kind in ("mlp", "linear"):
        z = made.decoder(r)
    else:
        r[nodes.masked] = 0
        z = made.decoder(r, edges)
    masked = nodes.masked
    error = scaled_cosine_error if loss == "sce" else F.mse_loss
    torch.testing.assert_close(got, error(z[masked], x[masked]))
    torch.testing.assert_close(seeded(made, x.to_sparse_csr(), edges), got)


@pytest.mark.parametrize("norm", [None, "layernorm", "batchnorm"])
@pytest.mark.parametrize("kind", ["gat", "gcn", "gin"])
def test_sparse_features_give_the_same_gradients(
    kind: str, norm: str | None, x: Tensor, edges: Tensor
) -> None:
    made = model(kind, norm, drop_edge_rate=0.2, replace_rate=0.2)
    weights = list(made.parameters())
    a = torch.autograd.grad(seeded(made, x, edges), weights, allow_unused=True)
    b = torch.autograd.grad(seeded(made, x.to_sparse_csr(), edges), weights, allow_unused=True)
    for first, second in zip(a, b):
        assert first is not None
        assert second is not None
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("kind", ["gat", "gcn", "gin"])
def test_the_codes_of_masked_nodes_are_hidden(kind: str, x: Tensor, edges: Tensor) -> None:
    made = model(kind, "batchnorm" if kind == "gin" else None)
    h = torch.randn(N, 16, dtype=torch.float64, requires_grad=True)
    masked = torch.tensor([3, 4, 11])
    graph_edges = edges
    codes = made._codes(h, masked, masked)
    out = made.decoder(codes, graph_edges)
    (gradient,) = torch.autograd.grad(out.square().sum(), h)
    assert not gradient[masked].any()
    assert gradient.any()
    open_codes = model(kind, remask=False)._codes(h, masked, masked)
    assert open_codes[masked].any()


def test_an_isolated_masked_node_gets_the_bias_of_the_decoder(x: Tensor, edges: Tensor) -> None:
    made = model().eval()
    torch.nn.init.normal_(made.decoder.bias)
    codes = made._codes(torch.randn(N, 16).double(), torch.tensor([19]), torch.tensor([19]))
    torch.testing.assert_close(made.decoder(codes, edges)[19], made.decoder.bias)


def test_without_a_graph_a_node_is_rebuilt_from_its_own_code(x: Tensor, edges: Tensor) -> None:
    made = model("gat", decoder_kind="mlp").eval()
    h, rows = torch.randn(N, 16).double(), torch.tensor([2, 5])
    other = h.clone()
    other[7] += 1
    first, second = (made.decoder(made._codes(v, rows, rows)) for v in (h, other))
    assert torch.equal(first, second)


def test_embeddings_permute_with_the_nodes_and_ignore_the_token(x: Tensor, edges: Tensor) -> None:
    made = model(norm="layernorm").train()
    h = made.embed(x, edges)
    assert made.encoder.training
    order = torch.randperm(N)
    torch.testing.assert_close(made.embed(x[order], order.argsort()[edges]), h[order])
    torch.nn.init.normal_(made.token)
    assert torch.equal(made.embed(x, edges), h)
    batch = GraphBatch(x, edges, seeds=torch.tensor([4]))
    torch.testing.assert_close(made.embed(batch), h[[4]])


def test_the_loss_does_not_know_the_order_of_the_nodes(
    x: Tensor, edges: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(norm="layernorm").eval()
    torch.nn.init.normal_(made.token)
    drawn, order = draw_masked_nodes(N, 0.5, 0.3), torch.randperm(N)
    place = order.argsort()
    moved = MaskedNodes(*(place[part] for part in drawn))
    losses = []
    for nodes, features, links in ((drawn, x, edges), (moved, x[order], place[edges])):
        monkeypatch.setattr(graphmae, "draw_masked_nodes", lambda *_, _n=nodes, **__: _n)
        losses.append(made(features, links))
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)


def test_dropped_edges_are_the_encoder_s_alone(x: Tensor, edges: Tensor) -> None:
    """With nearly all edges gone the encoder sees loops; the decoder still sees the ring."""
    full, dropped = (
        model(drop_edge_rate=0.999999, decode_dropped=on, replace_rate=0.0) for on in (False, True)
    )
    loops = torch.arange(N).expand(2, N)
    torch.manual_seed(1)
    masked = draw_masked_nodes(N, 0.5).masked
    shown = x.clone()
    shown[masked] = full.token.detach()
    h = full.encoder(shown, loops)
    r = full._codes(h, masked, masked)
    for made, seen in ((full, edges), (dropped, loops)):
        expected = scaled_cosine_error(made.decoder(r, seen, masked), x[masked])
        torch.testing.assert_close(seeded(made, x, edges), expected)


def test_sampled_graphs_are_scored_on_their_samples(x: Tensor, edges: Tensor) -> None:
    made, seeds = model(replace_rate=0.0).eval(), torch.arange(8)
    torch.manual_seed(1)
    got = made.training_loss(Batch([GraphBatch(x, edges, seeds=seeds)])).total  # type: ignore[list-item]
    torch.manual_seed(1)
    masked = draw_masked_nodes(N, 0.5).masked
    rows = masked[masked < 8]
    shown = x.clone()
    shown[masked] = made.token.detach()
    codes = made._codes(made.encoder(shown, edges), masked, rows)
    torch.testing.assert_close(got, scaled_cosine_error(made.decoder(codes, edges, rows), x[rows]))
    none = torch.tensor([], dtype=torch.int64)
    with pytest.raises(ValueError, match="none of the 0 samples"):
        made.training_loss(Batch([GraphBatch(x, edges, seeds=none)]))  # type: ignore[list-item]


def test_a_batch_of_one_node_is_masked_in_every_step(x: Tensor, edges: Tensor) -> None:
    made, one = model(replace_rate=0.0), torch.tensor([3])
    for seed in range(20):  # half of the first draws leave it out
        torch.manual_seed(seed)
        loss = made.training_loss(Batch([GraphBatch(x, edges, seeds=one)])).total  # type: ignore[list-item]
        assert torch.isfinite(loss)


def test_changed_edges_are_noticed(x: Tensor, edges: Tensor) -> None:
    made = model().eval()
    before = seeded(made, x, edges)
    assert torch.equal(before, seeded(made, x, edges.clone()))
    assert torch.equal(before, seeded(made, x, edges))
    edges[:, 0] = torch.tensor([12, 5])
    changed = seeded(made, x, edges)
    assert not torch.equal(before, changed)
    assert torch.equal(changed, seeded(model().eval(), x, edges))
    with torch.inference_mode():
        assert torch.equal(changed, seeded(made, x, edges.clone()))


def test_token_rows_are_drawn_apart_by_dropout(x: Tensor) -> None:
    rows = SparseRows.from_csr(x.to_sparse_csr())
    masked = rows.replaced(torch.arange(10), torch.ones(WIDTH).double(), torch.arange(N))
    dense = masked.dropped(0.5).to_dense()[:10]
    assert len({tuple(row) for row in dense.tolist()}) == 10


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_what_the_table_says(name: str) -> None:
    chosen = PRESETS[name]
    made = GraphMAE.from_preset(name, in_dim=12)
    assert made.encoder.dim == chosen.hidden
    assert len(made.encoder.convs) == chosen.layers
    recipe = GraphMAE.preset_recipe(name)
    assert (recipe.optimizer.lr, recipe.epochs) == (chosen.lr, chosen.epochs)
    assert recipe.optimizer.decay_all
    assert recipe.schedule.name == ("cosine" if chosen.cosine else "constant")
    assert recipe.batch_size == chosen.batch_size


def test_cora_is_the_default_and_names_are_checked() -> None:
    cora = GraphMAE.from_preset("Cora")
    assert cora.encoder.in_dim == 1433
    assert cora.encoder.heads == 4
    assert cora.config == GraphMAE.Config()
    assert GraphMAE.default_recipe() == GraphMAE.preset_recipe("cora")
    assert GraphMAE.from_preset("IMDB-BINARY", in_dim=5).encoder.kind == "gin"
    with pytest.raises(ConfigError, match="Did you mean 'citeseer'"):
        GraphMAE.from_preset("citeseeer")
    with pytest.raises(ConfigError, match="give in_dim"):
        GraphMAE.from_preset("collab")


@pytest.mark.parametrize("bad", [{"mask_rate": 0.0}, {"mask_rate": 1.0}, {"alpha": 0.5}, {"x": 1}])
def test_options_that_leave_nothing_to_learn_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GraphMAE.Config(**bad)  # type: ignore[arg-type]


def test_encoders_of_the_other_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="an encoder of class GNNEncoder"):
        GraphMAE(MoleculeEncoder())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs --encoder molecule"):
        GraphMAEMolecules(GNNEncoder("gin", 3, 4, 1))  # type: ignore[arg-type]


def test_positional_decoder_and_width() -> None:
    encoder = GNNEncoder("gat", 4, 8, heads=2)
    assert GraphMAE(encoder, "mlp", 4, mask_rate=0.3).config.decoder_kind == "mlp"
    given = GraphMAE(encoder, "gat", 4, 0.3, 0.1, 0.2, "mse", 2.0).config
    assert given == GraphMAE.Config(
        mask_rate=0.3, replace_rate=0.1, drop_edge_rate=0.2, loss="mse", alpha=2.0
    )
    with pytest.raises(ValueError, match="differs from the encoder's 4"):
        GraphMAE(encoder, in_dim=5)
    with pytest.raises(TypeError, match="each option once"):
        GraphMAE(encoder, "gat", 4, 0.3, mask_rate=0.5)
    with pytest.raises(TypeError, match="at most mask_rate"):
        GraphMAE(encoder, "gat", 4, 0.3, 0.1, 0.2, "mse", 2.0, True)


def communities(n: int = 120) -> GraphSource:
    """Two communities with their own words."""
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    ends = rng.integers(0, n, (2, 12 * n))
    edges = ends[:, (label[ends[0]] == label[ends[1]]) | (rng.random(12 * n) < 0.1)]
    x = (rng.random((n, 80)) < 0.03 + 0.06 * (np.arange(80) % 2 == label[:, None])).astype(float)
    mask = np.arange(n) // 2 % 4
    return GraphSource("toy", x, edges, label, train=mask == 0, val=mask == 1, test=mask > 1)


@pytest.mark.parametrize("fanouts", [None, (4, 3)])
def test_a_run_from_pretraining_to_evaluation(
    tmp_path: Path, fanouts: tuple[int, ...] | None
) -> None:
    source = communities()
    if fanouts:
        mask = source.splits
        source = GraphSource("toy", source.x, source.edges, source.labels, fanouts=fanouts, **mask)  # type: ignore[arg-type]
    run = tacit.pretrain(
        "graphmae",
        source,
        out=tmp_path / "run",
        epochs=20,
        batch_size=None if fanouts is None else 40,
        progress=False,
        **{"encoder.hidden": 16, "encoder.heads": 2},
    )
    assert run.status["state"] == "finished"
    loss = run.metrics["loss"]
    assert float(loss[-1]) < float(loss[0])
    again = tacit.load(tmp_path / "run")
    vectors = again.embed(source)
    assert vectors.shape == (120, 16)
    assert np.array_equal(vectors, run.embed(source))
    rows = again.evaluate("knn", data=source)
    assert rows["encoder"]["knn"] > 0.7


def test_graphs_of_a_set_train_too(tmp_path: Path) -> None:
    sizes = np.full(24, 5)
    ring = np.stack([np.arange(5), (np.arange(5) + 1) % 5])
    edges = np.concatenate([ring + 5 * g for g in range(24)], axis=1)
    x = np.random.default_rng(0).random((120, 4))
    source = GraphSetSource("toy", x, edges, sizes, np.arange(24) % 2)
    run = tacit.pretrain(
        "graphmae",
        source,
        out=tmp_path / "run",
        epochs=2,
        batch_size=8,
        progress=False,
        encoder="gin",
        decoder_kind="gin",
        **{"encoder.hidden": 8, "encoder.norm": "batchnorm", "encoder.pool": "sum"},
    )
    assert run.embed(source).shape == (24, 8)


def molecules(n: int = 12) -> GraphSetSource:
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 8, 4 * n), np.zeros(4 * n, np.int64)], axis=1)
    start = 4 * np.arange(n)
    edges = np.concatenate([np.stack([start + k, start + k + 1]) for k in range(3)], axis=1)
    edges = np.concatenate([edges, edges[::-1]], axis=1)
    return GraphSetSource(
        "toy", x, edges, np.full(n, 4), edge_attr=np.zeros((edges.shape[1], 2), np.int64)
    )


def test_molecules_written_out() -> None:
    torch.manual_seed(0)
    made = GraphMAEMolecules(MoleculeEncoder(hidden=8, layers=2)).double()
    graph, masked = molecules().batch([0, 1]), torch.tensor([1, 6])
    shown = graph.x.clone()
    shown[masked] = torch.tensor([119, 0])
    h = made.encoder.atoms(shown, graph.edge_index, graph.edge_attr)
    codes = made.bridge(made.act(h))
    codes[masked] = 0
    z = made.decoder(codes, graph.edge_index, graph.edge_attr)[masked]
    target = F.one_hot(graph.x[masked, 0], 119).double()
    expected = (1 - F.cosine_similarity(z, target)).mean()
    torch.testing.assert_close(made.loss(graph, masked), expected)


def test_molecules_train(tmp_path: Path) -> None:
    run = tacit.pretrain(
        "graphmae-molecules",
        molecules(),
        out=tmp_path / "run",
        epochs=3,
        batch_size=6,
        progress=False,
        **{"encoder.hidden": 8, "encoder.layers": 2},
    )
    assert run.embed(molecules()).shape == (12, 8)
