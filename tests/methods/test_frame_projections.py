"""Frame Projections: the written-out loss, its symmetries, the mappers, and what is refused."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import tacit
from tacit.encoders.series import (
    TCN,
    FourierEncoder,
    LatentMapper,
    MappedEncoder,
    ResNet1D,
    ScalogramEncoder,
)
from tacit.errors import ConfigError
from tacit.methods.base import Batch, Progress
from tacit.methods.contrastive._frames import FrameBranches, FrameProjectionSSL
from tacit.methods.contrastive.frame_projections import FrameProjections
from tacit.views import fourier_view, morlet_scalogram

LENGTH = 32


def model(seed: int = 0, **options) -> FrameProjectionSSL:
    torch.manual_seed(seed)
    networks = (
        ResNet1D(1, out_dim=16, base=4, blocks=2),
        FourierEncoder(1, LENGTH, base=2),
        ScalogramEncoder(1, 48, LENGTH, base=4),
    )
    return FrameProjectionSSL(*networks, proj_dim=8, **options).double()


def windows(n: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, LENGTH, generator=generator, dtype=torch.float64)


def nt(a: torch.Tensor, b: torch.Tensor, tau: float) -> torch.Tensor:
    """The official form: cross-entropy over the positive and the other 2B - 2 rows."""
    rows = torch.cat([a, b])
    n = len(a)
    total = torch.zeros((), dtype=rows.dtype)
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j not in (i, positive)]
        logits = rows[i] @ rows[[positive, *others]].T / tau
        total = total - logits.log_softmax(0)[0]
    return total / (2 * n)


def test_loss_is_the_written_out_one() -> None:
    net, x = model().eval(), windows()
    out = net(x)
    z = {
        "time": net.encoder.time(x),
        "fourier": net.branches.encoders["fourier"](fourier_view(x)),
        "wavelet": net.branches.encoders["wavelet"](morlet_scalogram(x, 25.0)),
    }
    z = {k: F.normalize(net.branches.projectors[k](h)) for k, h in z.items()}
    expected = sum(
        nt(z[a], z[b], 0.15)
        for a, b in (("time", "wavelet"), ("time", "fourier"), ("wavelet", "fourier"))
    )
    for name in ("fourier", "wavelet"):
        distance = (net.branches.predictors[name](z["time"]) - z[name]).abs().mean()
        torch.testing.assert_close(out["parts"][f"l1_{name}"], distance)
        expected = expected + distance / len(x)
    torch.testing.assert_close(out["loss"], expected)


def test_weight_of_the_distances() -> None:
    x = windows()
    published, one, none = (model(l1_weight=w).eval()(x) for w in (None, 1.0, 0.0))
    distance = published["parts"]["l1_fourier"] + published["parts"]["l1_wavelet"]
    torch.testing.assert_close(published["loss"] - none["loss"], distance / 6)
    torch.testing.assert_close(one["loss"] - none["loss"], distance)


def test_given_spectra_are_used() -> None:
    net, x = model().eval(), windows()
    spectra = fourier_view(x), morlet_scalogram(x)
    torch.testing.assert_close(net(x, *spectra)["loss"], net(x)["loss"])
    assert not torch.isclose(net(x, spectra[0], 2 * spectra[1])["loss"], net(x)["loss"])


def test_permuting_the_batch_changes_nothing() -> None:
    net, x = model().eval(), windows()
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    torch.testing.assert_close(net(x[order])["loss"], net(x)["loss"])


def test_the_three_views_are_exchangeable_without_the_distances() -> None:
    net = model(l1_weight=0.0).eval()
    h = {"time": net.encoder.time(windows()), **net.branches.embed(windows())}
    value, _ = net.branches.loss(h)
    for swap in (("fourier", "wavelet"), ("time", "fourier"), ("wavelet", "time")):
        other = copy.deepcopy(net.branches)
        a, b = swap
        other.projectors[a], other.projectors[b] = other.projectors[b], other.projectors[a]
        swapped = h | {a: h[b], b: h[a]}
        torch.testing.assert_close(other.loss(swapped)[0], value)


def test_targets_receive_gradient_too() -> None:
    net = model(l1_weight=1.0)
    h = {name: torch.randn(4, 16, dtype=torch.float64) for name in ("time", "fourier", "wavelet")}
    h["fourier"].requires_grad_()
    z = F.normalize(net.branches.projectors["fourier"](h["fourier"]))
    t = F.normalize(net.branches.projectors["time"](h["time"]))
    (net.branches.predictors["fourier"](t) - z).abs().mean().backward()
    assert h["fourier"].grad.abs().sum() > 0
    net(windows())["loss"].backward()
    for key, p in net.named_parameters():
        if "map_" not in key and p.ndim > 1:
            assert p.grad.abs().sum() > 0, key
        if "map_" in key:
            assert p.grad is None


def test_zero_windows_are_finite() -> None:
    net = model()
    out = net(torch.zeros(4, 1, LENGTH, dtype=torch.float64))
    assert math.isfinite(float(out["loss"].detach()))
    out["loss"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_one_window_has_no_negatives() -> None:
    with pytest.raises(ValueError, match="at least two"):
        model().eval()(windows(1))


def test_nan_is_refused() -> None:
    x = windows()
    x[2, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        model().eval()(x)


@pytest.mark.parametrize(("left_out", "pair"), [("fourier", "wavelet"), ("wavelet", "fourier")])
def test_a_view_can_be_left_out(left_out: str, pair: str) -> None:
    full = model().eval()
    encoders = dict(full.branches.encoders) | {left_out: None}
    net = FrameProjectionSSL(
        full.encoder.time, encoders["fourier"], encoders["wavelet"], proj_dim=8
    )
    net = net.double().eval()
    parts = net(windows())["parts"]
    assert sorted(parts) == [f"l1_{pair}", f"time_{pair}"]
    net.fit_mappers([windows()], epochs=1)
    assert net.encode(windows()).shape == (6, 32)


# -- mappers


def test_mappers_learn_what_the_encoders_say_and_encoders_stay() -> None:
    net, x = model().train(), windows(40)
    before = copy.deepcopy(net.state_dict())
    errors = net.fit_mappers(x.split(10), epochs=60, lr=0.02)
    assert len(errors) == 60
    assert errors[-1] < 0.8 * errors[0]
    for key, value in net.state_dict().items():
        changed = "map_" in key or "fitted" in key
        assert torch.equal(value, before[key]) != changed, key
    assert net.training
    features = net.encode(x)
    fourier, time, wavelet = features.chunk(3, 1)
    assert net.training
    net.eval()
    h = net.branches.embed(x)
    assert torch.equal(time, net.encoder.time(x))
    assert torch.equal(net.encode(x, maps=False), time)
    targets = F.l1_loss(fourier, h["fourier"]) + F.l1_loss(wavelet, h["wavelet"])
    assert float(targets.detach()) / 2 < errors[0]


def test_mapper_step_is_adam_on_the_mean_distance() -> None:
    net, x = model().eval(), windows(8)
    h = {"time": net.encoder.time(x), **net.branches.embed(x)}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        fresh = {name: LatentMapper(16, 1) for name in ("fourier", "wavelet")}
    net.fit_mappers([x], epochs=1, seed=3)
    for name, mapper in fresh.items():
        optimizer = torch.optim.Adam(mapper.parameters(), lr=1e-3, weight_decay=1e-6)
        F.l1_loss(mapper(h["time"].detach().float()), h[name].detach().float()).backward()
        optimizer.step()
        for own, expected in zip(
            getattr(net.encoder, f"map_{name}").parameters(), mapper.parameters()
        ):
            torch.testing.assert_close(own, expected.double(), atol=1e-6, rtol=1e-5)


def test_best_mappers_are_those_of_the_best_epoch() -> None:
    net, x = model().eval(), windows(40)
    last = copy.deepcopy(net)
    errors = net.fit_mappers(x.split(10), epochs=40, lr=0.5, keep="best")
    assert errors == last.fit_mappers(x.split(10), epochs=40, lr=0.5)
    best = errors.index(min(errors))
    assert best < 39  # this rate is too high: it does not end at its best
    stopped = copy.deepcopy(model().eval())
    stopped.fit_mappers(x.split(10), epochs=best + 1, lr=0.5)
    assert torch.equal(net.encode(x), stopped.encode(x))
    assert not torch.equal(net.encode(x), last.encode(x))


def test_mapped_features_need_fitted_mappers() -> None:
    net = model()
    with pytest.raises(RuntimeError, match="fit_mappers"):
        net.encode(windows())
    with pytest.raises(ValueError, match="no batch"):
        net.fit_mappers([])
    with pytest.raises(ConfigError, match="'last' or 'best'"):
        net.fit_mappers([windows()], keep="worst")


# -- the method


def method(**options) -> FrameProjections:
    torch.manual_seed(0)
    encoder = MappedEncoder(TCN(2, out_dim=16, hidden=8, depth=1), LENGTH)
    config = FrameProjections.Config(proj_dim=8, wavelet_width=4, **options)
    return FrameProjections(encoder, config)


def test_method_trains_and_finishes() -> None:
    net = method(mapper_epochs=2)
    x = torch.randn(8, 2, LENGTH, generator=torch.Generator().manual_seed(0))
    losses = net.training_loss(Batch([x]))
    losses.total.backward()
    for key, p in net.named_parameters():
        assert (p.grad is not None) == p.requires_grad, key
        assert p.requires_grad == ("map_" not in key)
    assert net.embed(x).shape == (8, 16)
    assert net.project(x).shape == (8, 8)
    net.finish(lambda: iter([Batch([x])]))
    assert net.embed(x).shape == (8, 48)
    assert bool(net.encoder.fitted)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_networks_of_the_best_epoch_are_kept(checkpoint: str) -> None:
    net = method(mapper_epochs=1, checkpoint=checkpoint)
    x = torch.randn(8, 2, LENGTH, generator=torch.Generator().manual_seed(0))
    kept, losses = [], []
    for epoch in range(3):  # the encoders get worse: the first epoch is the best
        net.progress = Progress(epoch, epoch, epoch / 3)
        losses.append(float(net.training_loss(Batch([x])).total.detach()))
        with torch.no_grad():
            net.branches.projectors["time"][0].weight.mul_(-3 if epoch else 1)
            net.encoder.time.stem.weight.add_(0.1)
        kept.append(copy.deepcopy(net.encoder.time.state_dict()))
    net.eval().finish(lambda: iter([Batch([x])]))
    expected = kept[losses.index(min(losses)) if checkpoint == "best" else -1]
    assert losses.index(min(losses)) < 2
    for key, value in net.encoder.time.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (TCN(1), "mapped:NAME"),
        (MappedEncoder(TCN(1)), "known length"),
        (MappedEncoder(TCN(1, out_dim=12), LENGTH), "divisible by 8"),
        (MappedEncoder(TCN(1), 50), "length >= 32 divisible by 4"),
    ],
)
def test_method_refuses_other_encoders(encoder, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FrameProjections(encoder, FrameProjections.Config())


def test_widths_must_agree() -> None:
    with pytest.raises(ConfigError, match="32 features and the time encoder 16"):
        FrameBranches(16, FourierEncoder(1, LENGTH, base=4), None)
    with pytest.raises(ConfigError, match="both are None"):
        FrameBranches(16, None, None)


def test_a_run_exports_the_mapped_features(tmp_path: Path) -> None:
    run = tacit.pretrain(
        "frame-projections",
        "ucr:BasicMotions",
        encoder="mapped:tcn",
        out=tmp_path / "run",
        steps=2,
        wavelet_width=4,
        progress=False,
        **{"encoder_options": {"out_dim": 16, "hidden": 8, "depth": 1}},
    )
    loaded = tacit.load(run.path)
    assert loaded.encoder.dim == 48
    assert bool(loaded.encoder.fitted)
    x = torch.randn(3, 6, 100)
    assert torch.equal(loaded.encoder(x)[:, 16:32], loaded.encoder.time(x))
    assert torch.equal(loaded.encoder(x), run.encoder(x))
