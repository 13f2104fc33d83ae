"""Layers against sums over neighbours written out, sparse against dense, and bad graphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.encoders.gnn import (
    Adjacency,
    BondGINConv,
    DotGATConv,
    GATConv,
    GCNConv,
    GINConv,
    SAGEConv,
    SparseRows,
    edge_softmax,
    weighted_sum,
)
from tacit.encoders.gnn.dropout import dropout, keep_mask
from tacit.errors import ConfigError

N, F_IN = 12, 5
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gat": lambda: GATConv(F_IN, 3, 2),
    "gat-residual": lambda: GATConv(F_IN, 3, 2, residual=True),
    "gat-wide": lambda: GATConv(F_IN, 9, 1),
    "gat-wide-heads": lambda: GATConv(F_IN, 9, 2, residual=True),
    "dotgat": lambda: DotGATConv(F_IN, 3, 2, residual=True),
    "gcn": lambda: GCNConv(F_IN, 3, residual=True),
    "gcn-wide": lambda: GCNConv(F_IN, 9),
    "gin": lambda: GINConv(F_IN, 3, eps=0.5),
    "gin-wide": lambda: GINConv(F_IN, 9, norm=nn.BatchNorm1d(9)),
    "sage": lambda: SAGEConv(F_IN, 3),
}


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def edges() -> Tensor:
    """Directed edges with duplicates and one self-loop a node; node 0 has nothing else."""
    drawn = torch.randint(1, N, (2, 30), generator=torch.Generator().manual_seed(1))
    return torch.cat([drawn, torch.arange(N).expand(2, N)], dim=1)


@pytest.fixture
def x() -> Tensor:
    g = torch.Generator().manual_seed(2)
    return torch.randn(N, F_IN, generator=g) * (torch.rand(N, F_IN, generator=g) < 0.4)


def sources(edges: Tensor, node: int) -> Tensor:
    return edges[0][edges[1] == node]


def attend(h: Tensor, score: Callable[[int, Tensor], Tensor], edges: Tensor) -> Tensor:
    """Attention written out: h (N, K, D), score(i, sources) (m, K)."""
    rows = []
    for node in range(N):
        j = sources(edges, node)
        rows.append((score(node, j).softmax(0)[:, :, None] * h[j]).sum(0).flatten())
    return torch.stack(rows)


@pytest.mark.parametrize(("width", "heads"), [(3, 2), (9, 1), (9, 2)])
def test_gat_is_the_softmax_of_the_scores_of_both_ends(
    x: Tensor, edges: Tensor, width: int, heads: int
) -> None:
    layer = GATConv(F_IN, width, heads, residual=True)
    nn.init.normal_(layer.bias)
    h = (x @ layer.weight.T).view(N, heads, width)
    a, b = (h * layer.attn_src).sum(-1), (h * layer.attn_dst).sum(-1)
    expected = attend(h, lambda i, j: F.leaky_relu(a[j] + b[i], 0.2), edges)
    expected = expected + layer.bias + layer.residual(x)
    torch.testing.assert_close(layer(x, edges), expected)


def test_dot_product_attention_scales_by_the_root_of_the_width(x: Tensor, edges: Tensor) -> None:
    layer = DotGATConv(F_IN, 4, 2)
    h = layer.linear(x).view(N, 2, 4)
    expected = attend(h, lambda i, j: (h[j] * h[i]).sum(-1) / 2.0, edges)
    torch.testing.assert_close(layer(x, edges), expected)


@pytest.mark.parametrize("scale_bias", [True, False])
@pytest.mark.parametrize("width", [3, 9])
def test_gcn_scales_by_both_degrees(x: Tensor, edges: Tensor, scale_bias: bool, width: int) -> None:
    layer = GCNConv(F_IN, width, scale_bias=scale_bias)
    adjacency = torch.zeros(N, N).index_put(
        (edges[1], edges[0]), torch.ones(edges.shape[1]), accumulate=True
    )
    out_degree, in_degree = adjacency.sum(0), adjacency.sum(1)
    summed = adjacency @ (x / out_degree.sqrt()[:, None]) @ layer.linear.weight.T
    bias, root = layer.linear.bias, in_degree.sqrt()[:, None]
    expected = (summed + bias) / root if scale_bias else summed / root + bias
    torch.testing.assert_close(layer(x, edges), expected)


def test_glorot_gcn_starts_without_bias() -> None:
    layer = GCNConv(50, 40, scale_bias=False, init="glorot")
    bound = (6 / 90) ** 0.5
    assert float(layer.linear.weight.detach().abs().max()) <= bound
    assert float(layer.linear.weight.detach().abs().max()) > 0.9 * bound
    assert not layer.linear.bias.any()


@pytest.mark.parametrize("width", [3, 9])
def test_gin_adds_neighbours_before_its_mlp(x: Tensor, edges: Tensor, width: int) -> None:
    layer = GINConv(F_IN, width, eps=0.5, train_eps=True)
    total = torch.stack([1.5 * x[i] + x[sources(edges, i)].sum(0) for i in range(N)])
    torch.testing.assert_close(layer(x, edges), layer.last(layer.first(total).relu()))


def test_sage_averages_neighbours_and_survives_none(x: Tensor) -> None:
    layer, edges = SAGEConv(F_IN, 3), torch.tensor([[1, 2, 2], [0, 0, 1]])
    mean = torch.zeros(N, F_IN)
    mean[0], mean[1] = (x[1] + x[2]) / 2, x[2]
    torch.testing.assert_close(layer(x, edges), layer.own(x) + layer.neighbour(mean))


def test_bonds_add_their_embeddings(x: Tensor) -> None:
    layer = BondGINConv(F_IN, 3)
    edges = torch.tensor([[1, 2, 3, 1], [0, 0, 1, 0]])
    bonds = torch.tensor([[0, 1], [3, 2], [1, 0], [0, 0]])
    total = x + layer.bond_type.weight[4] + layer.bond_direction.weight[0]
    for (j, i), (kind, way) in zip(edges.T.tolist(), bonds.tolist()):
        total = total.index_add(
            0,
            torch.tensor([i]),
            (x[j] + layer.bond_type.weight[kind] + layer.bond_direction.weight[way])[None],
        )
    torch.testing.assert_close(layer(x, edges, bonds), layer.last(layer.first(total).relu()))


@pytest.mark.parametrize("name", LAYERS)
def test_sparse_features_and_chosen_rows_change_nothing(
    name: str, x: Tensor, edges: Tensor
) -> None:
    layer = LAYERS[name]()
    everything = layer(x, edges)
    rows = torch.tensor([7, 0, 3])
    torch.testing.assert_close(layer(x.to_sparse_csr(), edges), everything)
    torch.testing.assert_close(layer(x.to_sparse_coo(), edges), everything)
    torch.testing.assert_close(layer(x, edges, rows), everything[rows])


@pytest.mark.parametrize("name", LAYERS)
def test_layers_permute_with_the_nodes(name: str, x: Tensor, edges: Tensor) -> None:
    layer, order = LAYERS[name](), torch.randperm(N, generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    torch.testing.assert_close(layer(x[order], place[edges]), layer(x, edges)[order])


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_weights_and_input(name: str, x: Tensor, edges: Tensor) -> None:
    layer = LAYERS[name]()
    names = [key for key, _ in layer.named_parameters()]

    def run(features: Tensor, *weights: Tensor) -> Tensor:
        given = dict(zip(names, weights))
        return torch.func.functional_call(layer, given, (features, edges)).square().sum()

    weights = [p.detach().requires_grad_() for p in layer.parameters()]
    smooth = torch.randn(N, F_IN).requires_grad_()  # all-zero rows sit in the kink of LeakyReLU
    assert torch.autograd.gradcheck(run, (smooth, *weights))
    dense = torch.autograd.grad(run(x, *weights), weights, allow_unused=True)
    rare = torch.autograd.grad(run(x.to_sparse_csr(), *weights), weights, allow_unused=True)
    for a, b in zip(dense, rare):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_attention_subtracts_the_maximum_of_each_destination() -> None:
    path = Adjacency.build(torch.tensor([[0, 1, 2], [2, 2, 1]]), 3)
    score = torch.tensor([[-2000.0], [1000.0], [1001.0]])  # sorted: into 1, into 2, into 2
    out = edge_softmax(score, path)[:, 0]
    assert out[0] == 1
    torch.testing.assert_close(out[1:], torch.tensor([0.2689414213699951, 0.7310585786300049]))


def test_products_without_a_sparse_library_are_the_same(
    x: Tensor, edges: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    adjacency = Adjacency.build(edges, N)
    w = torch.rand(edges.shape[1], 2, requires_grad=True)
    h = torch.randn(N, 2, 3, requires_grad=True)
    fast = weighted_sum(w, h, adjacency)
    expected = torch.autograd.grad(fast.square().sum(), (w, h))
    monkeypatch.setattr("tacit.encoders.gnn.adjacency._fast", lambda h: False)
    slow = weighted_sum(w, h, adjacency)
    torch.testing.assert_close(slow, fast)
    torch.testing.assert_close(torch.autograd.grad(slow.square().sum(), (w, h)), expected)


def test_rows_with_a_token_equal_the_dense_matrix(x: Tensor) -> None:
    rows, token = torch.tensor([4, 1]), torch.randn(F_IN, requires_grad=True)
    shown = torch.arange(N)
    shown[2] = 9
    masked = SparseRows.from_csr(x.to_sparse_csr()).replaced(rows, token, shown)
    dense = x[shown].index_copy(0, rows, token.expand(2, -1))
    torch.testing.assert_close(masked.to_dense(), dense)
    weight = torch.randn(3, F_IN, requires_grad=True)
    torch.testing.assert_close(masked.linear(weight), dense @ weight.T)
    a = torch.autograd.grad(masked.linear(weight).square().sum(), (token, weight))
    b = torch.autograd.grad((dense @ weight.T).square().sum(), (token, weight))
    torch.testing.assert_close(a, b)


def test_dropped_sparse_rows_are_what_their_dense_form_says(x: Tensor) -> None:
    rows, token = torch.tensor([4, 1]), torch.ones(F_IN)
    masked = SparseRows.from_csr(x.to_sparse_csr()).replaced(rows, token, torch.arange(N))
    dropped = masked.dropped(0.5)
    dense, before = dropped.to_dense(), masked.to_dense()
    assert bool(((dense == 0) | torch.isclose(dense, 2 * before)).all())
    weight = torch.randn(3, F_IN)
    torch.testing.assert_close(dropped.linear(weight), dense @ weight.T)


def test_dropout_keeps_the_mean_and_follows_the_seed() -> None:
    mask = keep_mask((400, 500), 0.2, torch.zeros(1))
    assert abs(float(mask.mean()) - 0.8) < 0.005  # five standard deviations
    torch.manual_seed(4)
    first = dropout(torch.ones(50), 0.2, True)
    torch.manual_seed(4)
    assert torch.equal(first, dropout(torch.ones(50), 0.2, True))
    assert set(first.tolist()) <= {0.0, 1.25}
    assert torch.equal(dropout(torch.ones(5), 0.2, False), torch.ones(5))


@pytest.mark.parametrize("kind", [GATConv, DotGATConv])
def test_attention_refuses_a_node_without_incoming_edge(kind: type, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"10 of 12 nodes have no incoming edge.*self-loops"):
        kind(F_IN, 2)(x, torch.tensor([[0, 1], [1, 0]]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([[0, 12], [1, 0]]), r"names node 12, but the graph has 12 nodes"),
        (torch.tensor([[0, -1], [1, 0]]), r"names node -1"),
        (torch.zeros(2, 3), r"integers of shape \(2, E\)"),
        (torch.zeros(3, 2, dtype=torch.long), r"integers of shape \(2, E\)"),
    ],
)
def test_impossible_edges_are_refused(bad: Tensor, message: str, x: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        GCNConv(F_IN, 2)(x, bad)


def test_a_graph_without_edges_is_no_error_without_attention(x: Tensor) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    layer = GCNConv(F_IN, 2)
    torch.testing.assert_close(layer(x, none), layer.linear.bias.expand(N, 2))


@pytest.mark.parametrize("bad", [{"feat_drop": 1.0}, {"out_dim": 0}, {"attn_drop": -0.1}])
def test_layers_refuse_impossible_options(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GATConv(**{"in_dim": 2, "out_dim": 2, **bad})
