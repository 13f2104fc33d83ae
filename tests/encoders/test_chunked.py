"""Gradient caching equals the large batch."""

import copy

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tacit
from tacit.cli import app
from tacit.encoders import Encoder, Features, build_encoder
from tacit.encoders.chunked import ChunkedEncoder
from tacit.errors import ConfigError
from tacit.losses import nt_xent_loss
from tacit.options import build_recipe
from tacit.registry import METHODS
from tacit.training.build import build_method


class Net(Encoder):
    def __init__(self, norm):
        super().__init__()
        self.dim, self.in_channels = 5, 3
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 5, 3)
        )

    def features(self, x):
        return Features(self.layers(x).mean((2, 3)))


def without_dropout(net):
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def gradients(encoder, views):
    torch.manual_seed(0)
    loss = nt_xent_loss(*(encoder(view) for view in views), temperature=0.2)
    loss.backward()
    return loss, {name.removeprefix("encoder."): p.grad for name, p in encoder.named_parameters()}


@pytest.mark.parametrize("size", [1, 4, 7, 12, 50])
def test_loss_and_gradient_of_the_whole_batch(size):
    plain = Net(nn.GroupNorm(2, 8)).double().eval()  # no dropout: order of random numbers differs
    views = torch.randn(2, 12, 3, 9, 9, dtype=torch.float64)
    loss, want = gradients(copy.deepcopy(plain), views)
    cached, got = gradients(ChunkedEncoder(copy.deepcopy(plain), size), views)
    assert torch.allclose(cached, loss, atol=1e-12)
    assert want.keys() == got.keys()
    assert all(torch.allclose(got[k], want[k], atol=1e-12) for k in want)


def test_dropout_is_the_same_in_both_passes():
    """With one piece the random numbers are those of the plain encoder."""
    plain = Net(nn.GroupNorm(2, 8)).double().train()
    views = torch.randn(2, 6, 3, 9, 9, dtype=torch.float64)
    _, want = gradients(copy.deepcopy(plain), views)
    _, got = gradients(ChunkedEncoder(copy.deepcopy(plain), 6), views)
    assert all(torch.allclose(got[k], want[k], atol=1e-12) for k in want)


def test_batch_norm_sees_pieces_and_counts_each_once():
    plain = Net(nn.BatchNorm2d(8)).double().train()
    x = torch.randn(8, 3, 9, 9, dtype=torch.float64)
    by_hand, chunked = copy.deepcopy(plain), ChunkedEncoder(copy.deepcopy(plain), 4)
    for net in (by_hand, chunked):
        without_dropout(net)
    want = torch.cat([by_hand(part) for part in x.split(4)])
    got = chunked(x)
    assert torch.allclose(got, want, atol=1e-12)
    got.sum().backward()
    norm, own = by_hand.layers[1], chunked.encoder.layers[1]
    assert torch.equal(own.running_mean, norm.running_mean)
    assert torch.equal(own.running_var, norm.running_var)
    assert own.num_batches_tracked == norm.num_batches_tracked == 2
    assert own.momentum == 0.1
    assert not torch.allclose(want, plain(x), atol=1e-3)  # what batch norm changes


def test_gradient_with_batch_norm_is_that_of_the_joined_pieces():
    plain = without_dropout(Net(nn.BatchNorm2d(8)).double().train())
    views = torch.randn(2, 12, 3, 9, 9, dtype=torch.float64)
    by_hand = copy.deepcopy(plain)
    joined = [torch.cat([by_hand(part) for part in view.split(4)]) for view in views]
    nt_xent_loss(*joined, temperature=0.2).backward()
    _, got = gradients(ChunkedEncoder(copy.deepcopy(plain), 4), views)
    for name, p in by_hand.named_parameters():
        assert torch.allclose(got[name], p.grad, atol=1e-12)
    # Not that of the whole batch, which batch norm would normalise at once ...
    _, whole = gradients(copy.deepcopy(plain), views)
    assert not torch.allclose(got["layers.0.weight"], whole["layers.0.weight"], atol=1e-4)
    # ... unless its statistics are frozen, or the batch is one piece.
    for net, size in ((copy.deepcopy(plain).eval(), 4), (plain, 12)):
        _, whole = gradients(copy.deepcopy(net), views)
        _, got = gradients(ChunkedEncoder(copy.deepcopy(net), size), views)
        assert all(torch.allclose(got[name], whole[name], atol=1e-12) for name in whole)


def test_dropout_in_pieces_is_drawn_once():
    """The gradient is that of the outputs: with the same seed, by hand, the same."""
    plain = Net(nn.GroupNorm(2, 8)).double().train()
    views = torch.randn(2, 12, 3, 9, 9, dtype=torch.float64)
    by_hand = copy.deepcopy(plain)
    torch.manual_seed(0)
    joined = [torch.cat([by_hand(part) for part in view.split(4)]) for view in views]
    nt_xent_loss(*joined, temperature=0.2).backward()
    _, got = gradients(ChunkedEncoder(copy.deepcopy(plain), 4), views)
    for name, p in by_hand.named_parameters():
        assert torch.allclose(got[name], p.grad, atol=1e-12)


def test_no_piece_of_one_sample():
    """9 samples in pieces of at most 4 are three each: batch norm refuses a single vector."""
    sizes = []

    class Vectors(Net):
        def features(self, x):
            sizes.append(len(x))
            return Features(x)

    x = torch.randn(9, 5)
    assert torch.equal(ChunkedEncoder(Vectors(nn.Identity()), 4)(x), x)
    assert sizes == [3, 3, 3]
    assert ChunkedEncoder(Vectors(nn.Identity()), 4)(x[:0]).shape == (0, 5)


def test_no_activation_is_kept():
    """Only the inputs wait for the backward pass."""
    plain = Net(nn.GroupNorm(2, 8)).eval()
    x = torch.randn(12, 3, 9, 9)
    kept = {}
    for name, net in (("plain", plain), ("cached", ChunkedEncoder(plain, 3))):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            net(x)
        kept[name] = sum(sizes)
    assert kept["cached"] == x.numel() < kept["plain"] / 3


def test_what_has_no_pieces_is_refused():
    cached = ChunkedEncoder(Net(nn.Identity()), 4)
    with pytest.raises(ConfigError, match="reads tensors in pieces, got dict"):
        cached({"x": torch.ones(2)})
    with pytest.raises(ConfigError, match="reads 'layers' of its encoder"):
        _ = cached.layers
    assert not hasattr(cached, "layers")
    with pytest.raises(AttributeError, match="no attribute 'strides'"):
        _ = cached.strides


def test_patches_and_no_grad():
    plain = build_encoder("vit_ti", in_channels=1, image_size=16, depth=1).eval()
    x = torch.randn(5, 1, 16, 16)
    with torch.no_grad():
        want, got = plain.features(x), ChunkedEncoder(plain, 2).features(x)
    assert got.grid == want.grid
    assert torch.allclose(got.pooled, want.pooled, atol=1e-5)
    assert torch.allclose(got.patches, want.patches, atol=1e-5)


def test_effective_batch_in_a_run(tmp_path):
    options = {"monitor": {"samples": 32}, "progress": False, "steps": 3, "precision": "32"}
    encoder = {"encoder": "vit_ti", "encoder_options": {"depth": 1, "patch_size": 8}}
    run = tacit.pretrain(
        "simclr", "digits", out=tmp_path / "a", batch_size=32, effective_batch=96,
        **options, **encoder,
    )  # fmt: skip
    assert run.recipe.batch_size == 96
    assert run.recipe.forward_batch == 32
    large = tacit.pretrain(
        "simclr", "digits", out=tmp_path / "b", batch_size=96, **options, **encoder
    )
    first, second = run.encoder.state_dict(), large.encoder.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[k], second[k], atol=1e-4) for k in first)
    words = ["--batch-size", "32", "--effective-batch", "96", "--steps", "3", "--precision", "32"]
    words += ["--encoder", "vit_ti", "--set", "encoder.depth=1", "--no-report"]
    words += ["--set", "encoder.patch_size=8", "--set", "monitor.samples=32"]
    words += ["--out", str(tmp_path / "cli")]
    done = CliRunner().invoke(app, ["pretrain", "simclr", "digits", *words])
    assert done.exit_code == 0, done.output
    third = tacit.load(tmp_path / "cli")
    assert (third.recipe.batch_size, third.recipe.forward_batch) == (96, 32)
    third = third.encoder.state_dict()
    assert all(torch.equal(first[k], third[k]) for k in first)
    done = CliRunner().invoke(app, ["pretrain", "simclr", "digits", "--effective-batch", "48"])
    assert done.exit_code == 1
    assert "effective_batch 48 is smaller than the batch of" in str(done.exception)
    with pytest.raises(ConfigError, match="effective_batch 48 is smaller than"):
        tacit.pretrain("simclr", "digits", out=tmp_path / "c", batch_size=64, effective_batch=48)


@pytest.mark.parametrize(
    ("method", "encoder"),
    [("graphmae", "gat"), ("st-mae", "gin"), ("neuronet", "neuronet_t"), ("selftask", "gcn")],
)
def test_methods_that_read_inside_their_encoder_say_so(method, encoder):
    cls = METHODS.get(method)
    recipe = cls.default_recipe().changed({"encoder": encoder, "forward_batch": 4})
    spec = {"in_dim": 3, "n_rois": 5, "tr": None, "in_channels": 1, "length": 3000, "rate": 100.0}
    with pytest.raises(ConfigError, match=f"{method} reads parts .* leave out effective_batch"):
        build_method(cls, recipe, spec)


def test_an_effective_batch_needs_a_batch():
    with pytest.raises(ConfigError, match="effective_batch 64 needs batch_size beside it"):
        build_recipe("simclr", "npz:x.npz", {"effective_batch": 64}, "series")
