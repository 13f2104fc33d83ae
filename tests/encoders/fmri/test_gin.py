"""Graph layers on connectivity: written-out numbers, equivariance, masks, inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.encoders import GINEncoder
from tacit.encoders.fmri import GINLayer
from tacit.errors import ConfigError
from tacit.views import sliding_fc, sparsify_fc

N, D = 7, 6


def windows(batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Series, correlations, graphs, window ends."""
    g = torch.Generator().manual_seed(seed)
    ts = torch.randn(batch, 80, N, generator=g, dtype=torch.float64)
    fc, starts = sliding_fc(ts, 20, 15)
    return ts, fc, sparsify_fc(fc, 40), starts + 20


def encoder(seed: int = 0, **options: object) -> GINEncoder:
    torch.manual_seed(seed)
    made = GINEncoder(N, D, 2, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        made.mask_token.normal_()
        for layer in made.layers:
            layer.eps.fill_(0.3)
    return made


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_a_layer_is_its_formula(aggregation: str) -> None:
    _, fc, adj, _ = windows()
    layer = GINLayer(N, D, aggregation=aggregation).double()  # type: ignore[arg-type]
    with torch.no_grad():
        layer.eps.fill_(0.7)
    made = layer(fc, adj)
    a = adj.double()
    x = a @ fc if aggregation == "sum" else (a / a.sum(-1, keepdim=True)) @ fc
    x = (x + 0.7 * fc).reshape(-1, N)
    for linear in (layer.mlp[0], layer.mlp[3]):
        x = x @ linear.weight.T + linear.bias
        x = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    torch.testing.assert_close(made.reshape(-1, D), x)


@pytest.mark.parametrize("mode", [True, False])
def test_equivariant_to_the_order_of_nodes(mode: bool) -> None:
    _, fc, adj, _ = windows()
    net = encoder().train(mode)
    order = torch.tensor([4, 2, 0, 6, 1, 5, 3])
    moved = net(fc[..., order, :], adj[..., order, :][..., order])  # features stay, nodes move
    torch.testing.assert_close(moved, net(fc, adj)[..., order, :])


def test_a_region_embedding_breaks_the_symmetry() -> None:
    _, fc, adj, _ = windows()
    net = encoder(region_embedding=True).eval()
    order = torch.arange(N).flip(0)
    moved = net(fc[..., order, :], adj[..., order, :][..., order])
    assert not torch.allclose(moved, net(fc, adj)[..., order, :])


def test_onehot_gru_equals_the_explicit_onehot() -> None:
    ts, fc, adj, ends = windows()
    net = encoder(input="onehot_gru").eval()
    made = net(fc, adj, series=ts, ends=ends)
    assert net.gru is not None
    eta = net.gru(ts)[0][:, ends - 1]
    onehot = torch.eye(N, dtype=torch.float64).expand(2, len(ends), N, N)
    x = torch.cat([onehot, eta[:, :, None].expand(-1, -1, N, -1)], -1)
    h = net.project(x)
    for layer in net.layers:
        h = layer(h, adj)
    torch.testing.assert_close(made, h)
    own = net(fc, adj, series=ts, ends=ends.expand(2, -1))
    torch.testing.assert_close(own, made)


def test_eta_reads_nothing_after_the_window() -> None:
    ts, fc, adj, ends = windows()
    net = encoder(input="onehot_gru").eval()
    later = ts.clone()
    later[:, int(ends[1]) :] += 10
    made, changed = (net(fc, adj, series=x, ends=ends) for x in (ts, later))
    torch.testing.assert_close(made[:, :2], changed[:, :2])
    assert not torch.allclose(made[:, 2:], changed[:, 2:])


@pytest.mark.parametrize("input", ["profile", "onehot_gru"])
def test_nothing_of_a_masked_node_reaches_the_input_layer(input: str) -> None:
    ts, fc, _, ends = windows()
    net = encoder(input=input).eval()
    lonely = torch.eye(N).bool().expand_as(fc)  # no message passing: each node sees itself
    mask = torch.zeros(fc.shape[:-1], dtype=torch.bool)
    mask[..., 2] = True
    extra = {} if input == "profile" else {"series": ts, "ends": ends}
    made = net(fc, lonely, node_mask=mask, **extra)
    hidden = fc.clone()
    hidden[..., 2, :] = torch.randn(N).double()
    hidden[..., :, 2] = torch.randn(N).double()  # the columns hold the same numbers
    torch.testing.assert_close(net(hidden, lonely, node_mask=mask, **extra), made)
    assert made[..., 2, :].reshape(-1, D).std(0).max() < 1e-12  # the token, everywhere
    without = net(fc, lonely, **extra)
    same = torch.allclose(without[..., 0, :], made[..., 0, :])
    assert same == (input == "onehot_gru")  # there, other nodes do not hold the masked one


def test_no_mask_and_an_empty_mask_are_the_same() -> None:
    _, fc, adj, _ = windows()
    net = encoder().eval()
    empty = torch.zeros(fc.shape[:-1], dtype=torch.bool)
    assert torch.equal(net(fc, adj, node_mask=empty), net(fc, adj))


def test_batch_norm_mixes_nodes_windows_and_recordings_only_in_training() -> None:
    _, fc, adj, _ = windows()
    net = encoder()
    alone = lambda: torch.cat([net(fc[:1], adj[:1]), net(fc[1:], adj[1:])])  # noqa: E731
    assert not torch.allclose(net(fc, adj), alone())
    net.eval()
    torch.testing.assert_close(net(fc, adj), alone())


def test_gradient_of_the_layers() -> None:
    _, fc, adj, _ = windows(1)
    layer = GINLayer(N, 3).double()
    assert torch.autograd.gradcheck(lambda x: layer(x, adj[0, :2]), fc[0, :2].requires_grad_())


def test_layer_codes_and_defaults() -> None:
    net = GINEncoder(N)
    assert (net.dim, len(net.layers), net.input) == (128, 4, "profile")
    assert isinstance(net.layers[0].mlp[1], nn.BatchNorm1d)
    _, fc, adj, _ = windows()
    codes = net.layer_codes(fc.float(), adj)
    assert [tuple(code.shape) for code in codes] == [(2, 4, N, 128)] * 4
    assert torch.equal(net.train(False)(fc.float(), adj), net.layer_codes(fc.float(), adj)[-1])


def test_bad_options_and_inputs_are_refused() -> None:
    _, fc, adj, ends = windows()
    for options in ({"input": "fc"}, {"aggregation": "max"}, {"layers": 0}):
        with pytest.raises(ConfigError):
            GINEncoder(N, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="region embedding already"):
        GINEncoder(N, input="onehot_gru", region_embedding=True)
    with pytest.raises(ValueError, match=r"expected fc and adj \(\.\.\., 9, 9\)"):
        GINEncoder(9)(fc.float(), adj)
    with pytest.raises(ValueError, match="give `series` and `ends`"):
        encoder(input="onehot_gru")(fc, adj)
    with pytest.raises(ValueError, match=r"fc \(B, T, N, N\) and series"):
        encoder(input="onehot_gru")(fc, adj, series=fc[:, 0, :, :3], ends=ends)
