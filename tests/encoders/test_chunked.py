"""Gradient caching equals the large batch."""

import copy

import pytest
import torch
from torch import nn

import tacit
from tacit.encoders import Encoder, Features, build_encoder
from tacit.encoders.chunked import ChunkedEncoder
from tacit.errors import ConfigError
from tacit.losses import nt_xent_loss


class Net(Encoder):
    def __init__(self, norm):
        super().__init__()
        self.dim, self.in_channels = 5, 3
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 5, 3)
        )

    def features(self, x):
        return Features(self.layers(x).mean((2, 3)))


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
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
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
    with pytest.raises(ConfigError, match="effective_batch 48 is smaller than"):
        tacit.pretrain("simclr", "digits", out=tmp_path / "c", batch_size=64, effective_batch=48)
