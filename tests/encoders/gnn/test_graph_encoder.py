"""The encoder of graphs: order of its parts, pooling, names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.data.graph import GraphBatch
from tacit.encoders.gnn import GNNEncoder, MoleculeEncoder, global_pool
from tacit.errors import ConfigError

LOOPS = torch.arange(6).expand(2, 6)
RING = torch.cat([torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6]), LOOPS], dim=1)
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["gat", "dotgat", "gcn", "gin", "sage"])
@pytest.mark.parametrize("norm", [None, "layernorm", "batchnorm"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_kind_is_deterministic_in_evaluation(
    kind: str, norm: str | None, residual: bool
) -> None:
    encoder = GNNEncoder(kind, 4, 8, 3, 2, norm, residual).eval()
    h = encoder(X, RING)
    assert h.shape == (6, encoder.dim)
    assert torch.equal(h, encoder(X, RING))
    assert not torch.equal(h, encoder.train()(X, RING))


def test_layer_is_conv_then_norm_then_activation() -> None:
    encoder = GNNEncoder("gat", 4, 8, 2, 2, "layernorm").eval()
    first = encoder.acts[0](encoder.norms[0](encoder.convs[0](X, RING)))
    second = encoder.acts[1](encoder.norms[1](encoder.convs[1](first, RING)))
    states = encoder.hidden_states(X, RING)
    torch.testing.assert_close(states[0], first)
    torch.testing.assert_close(states[1], second)


@pytest.mark.parametrize(
    ("kind", "layers", "norm", "bare"),
    [
        ("gat", 1, None, True),
        ("gat", 2, None, False),
        ("gin", 2, None, True),
        ("gin", 2, "batchnorm", False),
        ("gcn", 1, None, False),
    ],
)
def test_where_the_last_activation_is_missing(
    kind: str, layers: int, norm: str | None, bare: bool
) -> None:
    encoder = GNNEncoder(kind, 4, 8, layers, 2, norm)
    assert isinstance(encoder.acts[-1], nn.Identity) == bare
    assert all(isinstance(act, nn.PReLU) for act in encoder.acts[:-1])


def test_samples_are_seeds_or_graphs() -> None:
    encoder = GNNEncoder("gin", 4, 8, 2, pool="max").eval()
    h = encoder(X, RING)
    seeds = torch.tensor([4, 1])
    assert torch.equal(encoder(GraphBatch(X, RING, seeds=seeds)), h[seeds])
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    pooled = encoder(GraphBatch(X, RING, batch=owner, num_graphs=3))
    assert torch.equal(pooled, global_pool(h, owner, "max", 3))
    with pytest.raises(ValueError, match="edge_index"):
        encoder(X)
    with pytest.raises(ValueError, match="categories such as atom types"):
        encoder(X.long(), RING)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [[2.0], [0.0], [5.0]]),
        ("sum", [[4.0], [0.0], [5.0]]),
        ("max", [[3.0], [0.0], [5.0]]),
    ],
)
def test_pooling(kind: str, expected: list[list[float]]) -> None:
    h = torch.tensor([[1.0], [3.0], [5.0]])
    assert global_pool(h, torch.tensor([0, 0, 2]), kind).tolist() == expected  # type: ignore[arg-type]


def test_max_pooling_of_negative_vectors_ignores_the_start_value() -> None:
    h = torch.tensor([[-3.0], [-1.0]])
    assert global_pool(h, torch.tensor([0, 0]), "max").tolist() == [[-1.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gta"}, "Did you mean 'gat'"),
        ({"norm": "batch_norm"}, "Did you mean 'batchnorm'"),
        ({"act": "prelo"}, "Did you mean"),
        ({"hidden": 9, "heads": 2}, "not divisible"),
        ({"layers": 0}, "at least 1 layer"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GNNEncoder(**{"kind": "gat", "in_dim": 4, "hidden": 8, **options})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="pooling must be"):
        global_pool(X, torch.zeros(6, dtype=torch.long), "median")  # type: ignore[arg-type]


def molecules() -> GraphBatch:
    bonds = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    return GraphBatch(
        torch.tensor([[5, 0], [7, 1], [5, 0], [6, 0]]),
        bonds,
        batch=torch.tensor([0, 0, 1, 1]),
        edge_attr=torch.tensor([[0, 0], [0, 0], [1, 2], [1, 2]]),
        num_graphs=2,
    )


def test_molecules_become_the_mean_of_their_atoms() -> None:
    encoder, batch = MoleculeEncoder(hidden=8, layers=3).eval(), molecules()
    assert batch.edge_attr is not None
    atoms = encoder.atoms(batch.x, batch.edge_index, batch.edge_attr)
    torch.testing.assert_close(encoder(batch), atoms.view(2, 2, 8).mean(1))
    assert bool((atoms < 0).any())  # no ReLU after the last layer
    with pytest.raises(ValueError, match="type and chirality"):
        encoder.atoms(torch.rand(2, 2), batch.edge_index, batch.edge_attr)
    with pytest.raises(ValueError, match="bond attributes"):
        encoder(GraphBatch(batch.x, batch.edge_index))


def test_a_large_graph_of_batches_is_the_union(generator: torch.Generator) -> None:
    """Two graphs apart and as one disjoint union have the same node vectors."""
    encoder = GNNEncoder("gat", 4, 8, 2, 2).eval()
    other: Tensor = torch.randn(6, 4, generator=generator)
    both = encoder(torch.cat([X, other]), torch.cat([RING, RING + 6], dim=1))
    torch.testing.assert_close(both, torch.cat([encoder(X, RING), encoder(other, RING)]))
