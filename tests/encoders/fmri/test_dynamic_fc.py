"""Read-outs, attention over time, the classifier and the encoder of whole recordings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import tacit.encoders.fmri.dynamic as dynamic
from tacit.encoders import (
    GARO,
    SERO,
    DynamicFCClassifier,
    DynamicFCEncoder,
    GINEncoder,
    MeanReadout,
    TimeTransformer,
)
from tacit.encoders.fmri import build_readout
from tacit.errors import ConfigError, DataError
from tacit.views import sliding_fc, sparsify_fc

N, D = 6, 8


@pytest.fixture(name="h")
def _h(generator: torch.Generator) -> Tensor:
    return torch.randn(2, 4, N, D, generator=generator, dtype=torch.float64)


def test_sero_is_its_formula(h: Tensor) -> None:
    net = SERO(D, N).double().eval()
    mean = h.mean(2).reshape(-1, D)
    x = mean @ net.embed[0].weight.T + net.embed[0].bias
    x = torch.nn.functional.gelu(x / (1 + 1e-5) ** 0.5)
    a = torch.sigmoid(x @ net.attend.weight.T + net.attend.bias).reshape(2, 4, N)
    torch.testing.assert_close(net(h), (h * a[..., None]).mean(2))
    torch.testing.assert_close(net.attention(h), a)


@pytest.mark.parametrize("scale_weights", [False, True])
def test_garo_is_its_formula(h: Tensor, scale_weights: bool) -> None:
    net = GARO(D, scale_weights=scale_weights).double().eval()
    q = net.embed_query(h.mean(2))
    score = (net.embed_key(h) * q[:, :, None]).sum(-1)
    a = torch.sigmoid(score) / D**0.5 if scale_weights else torch.sigmoid(score / D**0.5)
    torch.testing.assert_close(net(h), (h * a[..., None]).mean(2))
    assert (net.attention(h).max() < D**-0.5) == scale_weights


def test_which_readouts_know_the_regions(h: Tensor) -> None:
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for net, invariant in ((MeanReadout(), True), (GARO(D), True), (SERO(D, N), False)):
        net = net.double().eval()
        assert torch.allclose(net(h[:, :, order]), net(h)) == invariant


@pytest.mark.parametrize("name", ["sero", "garo"])
def test_dropout_acts_on_the_attention(h: Tensor, name: str) -> None:
    net = build_readout(name, D, N).double()
    torch.manual_seed(0)
    assert not torch.equal(net(h), net(h))
    net.dropout.p = 1.0
    assert (net(h) == 0).all()


def test_readouts_by_name() -> None:
    assert isinstance(build_readout("mean", D, N), MeanReadout)
    with pytest.raises(ConfigError, match="Did you mean 'sero'"):
        build_readout("serro", D, N)


def test_time_transformer_is_its_formula(h: Tensor) -> None:
    net = TimeTransformer(D).double().eval()
    x = h.mean(2)
    q, k, v = (x @ net.attention.in_proj_weight.T + net.attention.in_proj_bias).chunk(3, -1)
    a = (q @ k.mT / D**0.5).softmax(-1) @ v
    y = net.norm1(net.attention.out_proj(a))  # no x added here
    torch.testing.assert_close(net(x), net.norm2(y + net.mlp(y)))
    assert net.mlp[0].out_features == 2 * D
    with pytest.raises(ConfigError, match="multiple of heads"):
        TimeTransformer(D, heads=3)


def test_time_transformer_forgets_the_order_of_windows(h: Tensor) -> None:
    net = TimeTransformer(D).double().eval()
    x = h.mean(2)
    torch.testing.assert_close(net(x.flip(1)), net(x).flip(1))


def graphs(**gin: object) -> tuple[GINEncoder, Tensor, Tensor, dict[str, Tensor]]:
    g = torch.Generator().manual_seed(0)
    ts = torch.randn(3, 60, N, generator=g, dtype=torch.float64)
    fc, starts = sliding_fc(ts, 20, 10)
    net = GINEncoder(N, D, 2, **gin).double()  # type: ignore[arg-type]
    extra = {"series": ts, "ends": starts + 20} if net.input == "onehot_gru" else {}
    return net, fc, sparsify_fc(fc, 40), extra


@pytest.mark.parametrize("readout", ["sero", "garo", "mean"])
@pytest.mark.parametrize("input", ["profile", "onehot_gru"])
def test_logits_are_the_sum_over_layers(readout: str, input: str) -> None:
    net, fc, adj, extra = graphs(input=input)
    model = DynamicFCClassifier(net, readout, 3).double().eval()  # type: ignore[arg-type]
    out = model.outputs(fc, adj, **extra)
    total = torch.zeros(3, 3, dtype=torch.float64)
    for layer, h in enumerate(net.layer_codes(fc, adj, **extra)):
        code = model.times[layer](model.readouts[layer](h)).sum(1)
        torch.testing.assert_close(out.codes[:, layer], code)
        torch.testing.assert_close(out.nodes[layer], h)
        total += model.heads[layer](code)
    torch.testing.assert_close(out.logits, total)
    torch.testing.assert_close(model(fc, adj, **extra), total)


def test_ways_to_pool_time() -> None:
    net, fc, adj, _ = graphs()
    codes = {}
    for pool in ("sum", "mean", "param"):
        torch.manual_seed(0)
        model = DynamicFCClassifier(net, "mean", 2, time_pool=pool).double().eval()  # type: ignore[arg-type]
        codes[pool] = model.outputs(fc, adj).codes
    torch.testing.assert_close(codes["sum"], codes["mean"] * fc.shape[1])
    assert codes["param"].shape == codes["sum"].shape
    for options in ({"time_pool": "max"}, {"classes": 0}, {"readout": "max"}):
        with pytest.raises(ConfigError):
            DynamicFCClassifier(net, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="T at least 1"):
        DynamicFCClassifier(net)(fc[:, :0], adj[:, :0])


def test_every_weight_of_the_classifier_is_trained() -> None:
    net, fc, adj, extra = graphs(input="onehot_gru")
    model = DynamicFCClassifier(net, "sero", 3, time_pool="param", dropout=0.0).double()
    model(fc, adj, **extra).square().sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) == (name == "encoder.mask_token"), name


def encoder(**options: object) -> DynamicFCEncoder:
    torch.manual_seed(0)
    sizes = {"n_rois": N, "tr": 2.0, "window": 40.0, "stride": 10.0, "dim": D, "layers": 2}
    return DynamicFCEncoder(**{**sizes, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("input", ["profile", "onehot_gru"])
def test_recordings_are_encoded_the_same_in_parts(
    input: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    net = encoder(input=input).double().eval()
    x = torch.randn(3, N, 70, generator=generator, dtype=torch.float64)
    whole = net.features(x)
    monkeypatch.setattr(dynamic, "NUMBERS_AT_ONCE", 1)  # one window at a time
    torch.testing.assert_close(net.features(x).patches, whole.patches)
    ts = x.mT
    fc, starts = sliding_fc(ts, 20, 5)
    extra = {"series": ts, "ends": starts + 20} if input == "onehot_gru" else {}
    codes = net.gin(fc, sparsify_fc(fc, 30), **extra).mean(1)
    torch.testing.assert_close(whole.patches, codes)
    torch.testing.assert_close(whole.pooled, codes.mean(1))


def test_windows_are_given_in_seconds() -> None:
    assert (encoder().window, encoder().stride) == (20, 5)
    fast = encoder(tr=0.72)
    assert (fast.window, fast.stride) == (56, 14)
    points = encoder(tr=None)
    assert (points.window, points.stride) == (40, 10)
    with pytest.raises(ConfigError, match="2 points at a TR of 20 s"):
        encoder(tr=20.0)


def test_pooling_by_region_keeps_who_is_who(generator: torch.Generator) -> None:
    x = torch.randn(3, N, 70, generator=generator)
    net = encoder(pool="regions").eval()
    assert net.dim == N * D
    features = net.features(x)
    assert torch.equal(features.pooled, features.patches.flatten(1))
    assert features.grid == (N,)
    with pytest.raises(ConfigError, match="pool must be"):
        encoder(pool="max")


def test_series_that_the_encoder_cannot_read() -> None:
    net = encoder()
    for bad in (torch.randn(2, N + 1, 70), torch.randn(N, 70), torch.ones(2, N, 70).int()):
        with pytest.raises(ValueError, match=f"{N} regions"):
            net(bad)
    with pytest.raises(DataError, match="too short for windows of 20"):
        net(torch.randn(2, N, 20))
    assert len(net.starts(21)) == 1
    assert encoder(last=True).starts(20).tolist() == [0]  # the last full window
