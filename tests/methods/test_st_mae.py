"""ST-MAE: what each side reads, limits, masks, and training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tacit.encoders import DynamicFCEncoder, GINEncoder, SmallConvNet
from tacit.errors import ConfigError, DataError
from tacit.losses import balanced_edge_bce, masked_profile_loss
from tacit.methods.base import Batch
from tacit.methods.generative import STMaskedAutoencoder, Windows
from tacit.methods.generative.st_mae import STMAE
from tacit.registry import METHODS
from tacit.views import mask_nodes_edges, sliding_fc, sparsify_fc

N, D = 8, 6


def recordings(batch: int = 4, time: int = 100, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    latent = torch.randn(batch, time, 3, generator=g, dtype=torch.float64)
    mixing = torch.randn(batch, 3, N, generator=g, dtype=torch.float64)
    return latent @ mixing + torch.randn(batch, time, N, generator=g, dtype=torch.float64)


def graphs(**options: int) -> tuple[Tensor, Tensor]:
    fc, _ = sliding_fc(recordings(**options), 20, 10)
    return fc, sparsify_fc(fc, 40)


def model(seed: int = 0, input: str = "profile", **options: object) -> STMaskedAutoencoder:
    torch.manual_seed(seed)
    encoder = GINEncoder(N, D, 2, input)  # type: ignore[arg-type]
    return STMaskedAutoencoder(encoder, **{"min_gap": 2, **options}).double()  # type: ignore[arg-type]


def gen(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def triple(fc: Tensor, adj: Tensor) -> tuple[Windows, Windows, Windows]:
    every = Windows(fc, adj)
    position = torch.tensor([[1, 3]]).expand(len(fc), -1)
    return tuple(every.take(position + shift) for shift in (-1, 1, 3))  # type: ignore[return-value]


def test_the_loss_is_its_parts() -> None:
    fc, adj = graphs()
    net = model(edge_weight=0.3, temporal_weight=0.7)
    parts = net(fc, adj, windows=5, generator=gen())
    for side in ("spatial", "temporal"):
        expected = parts[f"{side}_nodes"] + 0.3 * parts[f"{side}_edges"]
        torch.testing.assert_close(parts[side].detach(), expected)
    torch.testing.assert_close(parts["loss"], parts["spatial"] + 0.7 * parts["temporal"])


def test_the_terms_are_the_losses_of_fresh_masks() -> None:
    fc, adj = graphs()
    before, centre, after = triple(fc, adj)
    net = model().eval()
    parts = net.reconstruct(before, centre, after, generator=gen())
    g = gen()
    masks, left, right, fresh = (
        mask_nodes_edges(w.adj, 0.5, 0.3, g) for w in (centre, before, after, centre)
    )
    assert not torch.equal(left.nodes, right.nodes)
    assert not torch.equal(masks.nodes, fresh.nodes)
    made = net.spatial(centre, masks)
    torch.testing.assert_close(
        parts["spatial_nodes"], masked_profile_loss(made.profiles, centre.fc, masks.nodes).detach()
    )
    made = net.temporal(before, after, (left, right))
    torch.testing.assert_close(
        parts["temporal_nodes"], masked_profile_loss(made.profiles, centre.fc, fresh.nodes).detach()
    )
    torch.testing.assert_close(
        parts["temporal_edges"], balanced_edge_bce(made.logits, centre.adj, fresh.edges).detach()
    )


def test_spatial_reconstruction_reads_no_hidden_number() -> None:
    fc, adj = graphs()
    net = model().eval()
    masks = mask_nodes_edges(adj, 0.5, 0.3, gen())
    hidden = masks.nodes[..., None, :] | masks.nodes[..., None]
    noise = torch.randn(fc.shape, generator=gen(), dtype=torch.float64)
    changed = torch.where(hidden, noise, fc)
    other_links = torch.where(masks.edges, ~adj, adj)
    one = net.spatial(Windows(fc, adj), masks)
    two = net.spatial(Windows(changed, other_links), masks._replace(adj=other_links & ~masks.edges))
    torch.testing.assert_close(one.profiles, two.profiles)
    torch.testing.assert_close(one.logits, two.logits)


@pytest.mark.parametrize("training", [True, False])
def test_temporal_loss_reads_nothing_of_the_window_itself(training: bool) -> None:
    fc, adj = graphs()
    before, centre, after = triple(fc, adj)
    seen = []
    for windows in (centre, Windows(torch.rand_like(centre.fc), ~centre.adj)):
        net = model().train(training)
        decoder = net.time_node_decoder
        assert decoder is not None
        decoder.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
        parts = net.reconstruct(before, windows, after, generator=gen())
        seen.append(parts["temporal"].detach())
    torch.testing.assert_close(seen[0], seen[2])  # what it predicts stays
    assert not torch.allclose(seen[1], seen[3])  # what it is compared to does not


def test_time_direction_matters() -> None:
    fc, adj = graphs()
    before, _, after = triple(fc, adj)
    net = model().eval()
    masks = tuple(mask_nodes_edges(w.adj, 0.5, 0.3, gen(i)) for i, w in enumerate((before, after)))
    there = net.temporal(before, after, masks)  # type: ignore[arg-type]
    back = net.temporal(after, before, masks[::-1])  # type: ignore[arg-type]
    assert not torch.allclose(there.profiles, back.profiles)


def test_without_edges() -> None:
    fc, adj = graphs()
    for options in ({"edge_ratio": 0.0}, {"edge_weight": 0.0}):
        net = model(**options)
        assert net.edge_decoder is None
        parts = net(fc, adj, generator=gen())
        assert "spatial_edges" not in parts
        torch.testing.assert_close(parts["spatial"].detach(), parts["spatial_nodes"])
    assert not mask_nodes_edges(adj, 0.5, 0.0).edges.any()


def test_without_time() -> None:
    fc, adj = graphs()
    net = model(temporal_weight=0.0)
    assert net.time_node_decoder is None
    parts = net(fc[:, :1], adj[:, :1], generator=gen())  # one window is enough
    assert parts["temporal"] == 0
    assert torch.equal(parts["loss"], parts["spatial"])
    with pytest.raises(ConfigError, match="no temporal decoder"):
        net.temporal(Windows(fc, adj), Windows(fc, adj), (None, None))  # type: ignore[arg-type]


def test_limits_that_are_refused() -> None:
    fc, adj = graphs()
    for options in (
        {"node_ratio": 0.0},
        {"edge_ratio": 1.0},
        {"edge_weight": -1.0},
        {"temporal_weight": -1.0},
        {"min_gap": 0},
    ):
        with pytest.raises(ConfigError):
            model(**options)
    with pytest.raises(DataError, match=r"4 windows are too few.*5 are needed"):
        model()(fc[:, :4], adj[:, :4])
    with pytest.raises(ValueError, match=r"\(B, T, N, N\)"):
        model()(fc[0], adj[0])
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        masked_profile_loss(fc, fc, torch.zeros(fc.shape[:-1], dtype=torch.bool))


def test_zero_decoders_give_log_two_and_a_perfect_one_gives_zero() -> None:
    fc, adj = graphs()
    net = model()
    assert net.edge_decoder is not None
    torch.nn.init.zeros_(net.edge_decoder.weight)
    torch.nn.init.zeros_(net.edge_decoder.bias)
    parts = net(fc, adj, windows=4, generator=gen())
    assert float(parts["spatial_edges"]) == pytest.approx(math.log(2), abs=1e-15)
    masks = mask_nodes_edges(adj)
    assert masked_profile_loss(fc, fc, masks.nodes) == 0


def test_default_gap_is_the_next_window() -> None:
    fc, adj = graphs()
    net = model(min_gap=None)
    assert net.gap == 1
    net(fc[:, :3], adj[:, :3])


def test_a_gru_that_reads_what_is_hidden_is_warned_of() -> None:
    with pytest.warns(RuntimeWarning, match="reads the series of hidden regions"):
        model(input="onehot_gru")


@pytest.mark.filterwarnings("ignore:the GRU of input")
@pytest.mark.parametrize("input", ["profile", "onehot_gru"])
@pytest.mark.parametrize("node_loss", ["mse", "sce"])
def test_every_weight_is_trained(input: str, node_loss: str) -> None:
    ts = recordings()
    fc, starts = sliding_fc(ts, 20, 10)
    net = model(input=input, node_loss=node_loss)
    extra = {"series": ts, "ends": starts + 20} if input == "onehot_gru" else {}
    net(fc, sparsify_fc(fc, 40), windows=6, generator=gen(), **extra)["loss"].backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.ndim == 1 or p.grad.abs().sum() > 0, name
    assert net.encoder.mask_token.grad.abs().sum() > 0


def test_reconstruction_learns_structure() -> None:
    """Recordings of two kinds: which of them shows in the visible part of a graph."""
    g = gen(0)
    kinds = torch.randn(2, 2, N, generator=g)
    latent = torch.randn(12, 120, 2, generator=g)
    ts = latent @ kinds.repeat(6, 1, 1) + 0.3 * torch.randn(12, 120, N, generator=g)
    fc, _ = sliding_fc(ts, 20, 10)
    adj = sparsify_fc(fc, 40)
    torch.manual_seed(0)
    encoder = GINEncoder(N, 16, 2, aggregation="mean", region_embedding=True)
    net = STMaskedAutoencoder(encoder, min_gap=2)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        net(fc[:8], adj[:8], windows=2, generator=g)["loss"].backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        every = Windows(fc[8:], adj[8:])
        masks = net.draw_masks(every.adj, g)
        spatial = net.spatial(every, masks).profiles
        sides = [every.take(torch.tensor([[2 + shift, 5 + shift]])) for shift in (-2, 0, 2)]
        pair = (net.draw_masks(sides[0].adj, g), net.draw_masks(sides[2].adj, g))
        temporal = net.temporal(sides[0], sides[2], pair).profiles
        fresh = net.draw_masks(sides[1].adj, g)
    mean = fc[:8].mean((0, 1))
    for made, true, hidden in ((spatial, every.fc, masks), (temporal, sides[1].fc, fresh)):
        found = masked_profile_loss(made, true, hidden.nodes)
        assert found < 0.4 * masked_profile_loss(mean.expand_as(true), true, hidden.nodes)


def method(**options: object) -> STMAE:
    torch.manual_seed(0)
    encoder = DynamicFCEncoder(n_rois=N, window=20, stride=10, dim=D, layers=2)
    return STMAE(encoder, STMAE.Config(**{"windows": 3, **options}))


def batch(n: int = 4, seed: int = 0) -> Batch:
    return Batch([recordings(n, seed=seed).float().mT], torch.arange(n))


def test_the_method_is_registered_for_fmri_only() -> None:
    cls = METHODS.get("st-mae")
    assert cls is STMAE
    assert cls.modalities == ("fmri",)
    recipe = cls.default_recipe("fmri")
    assert (recipe.method, recipe.n_views, recipe.encoder) == ("st-mae", 1, "gin")
    for field in cls.Config.model_fields.values():
        assert field.description
    with pytest.raises(ValidationError):
        cls.Config(node_ratio=0)
    with pytest.raises(ConfigError, match="not SmallConvNet"):
        STMAE(SmallConvNet(in_channels=3, image_size=32), STMAE.Config())  # type: ignore[arg-type]


@pytest.mark.parametrize("temporal_weight", [0.0, 1.0])
def test_training_loss_equals_the_autoencoder_on_all_windows(temporal_weight: float) -> None:
    made = method(temporal_weight=temporal_weight)
    assert made.autoencoder.gap == 2
    b = batch()
    losses = made.training_loss(b)
    twin = method(temporal_weight=temporal_weight)
    ts = b.views[0].mT
    fc, _ = sliding_fc(ts, 20, 10)
    adj = sparsify_fc(fc, 30)
    parts = twin.autoencoder(fc, adj, windows=3, generator=twin.draws.next())
    torch.testing.assert_close(losses.total, parts["loss"])
    assert {"spatial", "temporal"} <= set(losses.parts)


def test_draws_continue_from_a_checkpoint() -> None:
    one, two = method(), method()
    for _ in range(2):
        one.training_loss(batch())
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.training_loss(batch()).total, two.training_loss(batch()).total)


def test_embedding_and_projection_are_the_encoder() -> None:
    made = method().eval()
    x = batch().views[0]
    assert made.embed(x).shape == (4, D)
    assert torch.equal(made.project(x), made.encoder(x))


def test_explicit_gap_and_short_recordings() -> None:
    assert method(min_gap=3).autoencoder.gap == 3
    short = Batch([recordings(4, time=50).float().mT])
    with pytest.raises(DataError, match="temporal_weight=0"):
        method().training_loss(short)
    assert torch.isfinite(method(temporal_weight=0).training_loss(short).total)


def test_same_numbers_for_the_same_draws() -> None:
    values = [method().training_loss(batch()).total.item() for _ in range(2)]
    assert values[0] == values[1]
    assert np.isfinite(values[0])
