"""Frames, their multi-scale network, and the encoder of NeuroNet."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tacit.encoders.series.frame_transformer import FrameTransformer
from tacit.encoders.series.frames import frame_count, frame_signal
from tacit.encoders.series.multiscale import MultiScaleCNN, MultiScaleFrameCNN, ScaleBlock
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.errors import ConfigError


@given(st.integers(5, 60), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_frames_are_all_complete_windows(samples: int, window: int, step: int) -> None:
    x = torch.arange(2.0 * samples).view(2, samples)
    if samples < window:
        with pytest.raises(ValueError, match="shorter than the window"):
            frame_signal(x, 1, window, step)
        return
    wanted = [x[:, i : i + window] for i in range(0, samples - window + 1, step)]
    assert torch.equal(frame_signal(x, 1, window, step), torch.stack(wanted, 1))
    assert frame_count(samples, window, step) == len(wanted)


def test_sizes_are_truncated_to_samples() -> None:
    frames = frame_signal(torch.arange(3000.0)[None], 100, 3.0, 0.375)
    assert frames.shape == (1, 73, 300)
    assert (frames[0, 1, 0], frames[0, -1, 0]) == (37, 2664)
    with pytest.raises(ValueError, match="both must be at least 1"):
        frame_signal(torch.zeros(1, 9), 1, 3, 0.5)
    with pytest.raises(ValueError, match="rate"):
        frame_signal(torch.zeros(1, 9), 0, 3, 1)
    with pytest.raises(ValueError, match="expected series"):
        frame_signal(torch.zeros(1, 1, 9), 1, 3, 1)


def test_position_norm_is_a_batch_norm_run_over_the_positions() -> None:
    torch.manual_seed(0)
    mine, loop = PositionBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    with torch.no_grad():
        for norm in (mine, loop):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
            norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    for _ in range(3):
        x = torch.randn(6, 5, 3, 4, dtype=torch.float64) + torch.arange(5.0)[:, None, None]
        wanted = torch.stack([loop(x[:, i]) for i in range(5)], 1)
        out = mine(x.reshape(30, 3, 4), 5).view(6, 5, 3, 4)
        assert torch.allclose(out, wanted, atol=1e-12)
    assert torch.allclose(mine.running_mean, loop.running_mean, atol=1e-12)
    assert torch.allclose(mine.running_var, loop.running_var, atol=1e-12)
    assert mine.num_batches_tracked == loop.num_batches_tracked == 15
    mine.eval(), loop.eval()
    x = torch.randn(30, 3, dtype=torch.float64)
    assert torch.allclose(mine(x, 5), loop(x), atol=1e-12)
    with pytest.raises(ValueError, match="more than one sample"):
        mine.train()(torch.zeros(5, 3, dtype=torch.float64), 5)


@pytest.mark.parametrize(("length", "flat"), [(289, 448), (300, 512), (400, 1664), (500, 2944)])
def test_width_for_every_frame_length(length: int, flat: int) -> None:
    cnn = MultiScaleFrameCNN(length).eval()
    assert (cnn.flat_dim, cnn.dim) == (flat, flat // 2)
    x = torch.randn(2, 3, length)
    out = cnn(x)
    assert out.shape == (2, 3, flat // 2)
    # the network is shared by the frames
    assert torch.allclose(cnn(x[:, 1]), out[:, 1], atol=1e-5)


def test_branches_against_plain_layers() -> None:
    torch.manual_seed(0)
    block = ScaleBlock(4, 6, 5, 2).double().eval()
    x = torch.randn(2, 4, 30, dtype=torch.float64)
    conv = nn.functional.conv1d
    y = nn.functional.elu(conv(x, block.conv1.weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5)
    y = conv(y, block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5
    short = conv(x, block.shortcut.weight, stride=2) / (1 + 1e-5) ** 0.5
    assert (y.shape[-1], short.shape[-1]) == (12, 15)  # cut at the end
    wanted = nn.functional.elu(y + short[..., :12])
    assert torch.allclose(block(x, 1), wanted, atol=1e-12)
    assert block.out_length(30) == 12


def test_frames_too_short_are_refused_with_the_minimum() -> None:
    with pytest.raises(ConfigError, match="at least 289"):
        MultiScaleFrameCNN(288)
    with pytest.raises(ValueError, match=r"expected frames \(n, frames, 300\)"):
        MultiScaleFrameCNN(300)(torch.zeros(2, 3, 299))


def test_multiscale_encoder_of_whole_series() -> None:
    encoder = MultiScaleCNN(2).eval()
    for length in (1, 40, 123):
        features = encoder.features(torch.randn(3, 2, length))
        assert torch.equal(features.pooled, features.patches.mean(1))
        assert features.pooled.shape == (3, 192)
    with pytest.raises(ConfigError, match="positive"):
        MultiScaleCNN(0)


def small(**options: object) -> FrameTransformer:
    sizes = {"dim": 16, "heads": 2, "depth": 1, "step_s": 1.5, **options}
    return FrameTransformer(1, 900, **sizes)  # type: ignore[arg-type]


def test_encoder_pools_the_frames_or_gives_the_class_token() -> None:
    torch.manual_seed(0)
    encoder = small().eval()
    x = torch.randn(3, 1, 900)
    features = encoder.features(x)
    assert features.patches.shape == (3, 5, 16)
    assert torch.equal(features.pooled, features.patches.mean(1))
    assert torch.equal(encoder(x[:1])[0], encoder(x[:1]).squeeze(0))  # a batch of one stays one
    encoder.pool = "cls"
    latent = encoder.tokens(encoder.frames(x))
    assert torch.equal(encoder(x), latent[:, 0])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_encoder_can_be_traced_for_any_batch() -> None:
    encoder = small().eval()
    traced = torch.jit.trace(encoder, torch.randn(2, 1, 900))
    x = torch.randn(5, 1, 900)
    assert torch.allclose(traced(x), encoder(x), atol=1e-6)


def test_encoder_follows_the_sampling_rate() -> None:
    encoder = FrameTransformer(1, 2560, rate=128, step_s=1, dim=16, heads=2, depth=1)
    assert (encoder.cnn.frame_len, encoder.n_frames) == (384, 18)


def test_encoder_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ConfigError, match="one channel"):
        FrameTransformer(2, 900)
    with pytest.raises(ConfigError, match="1 frames"):
        FrameTransformer(1, 320)
    with pytest.raises(ConfigError, match="0 frames"):
        FrameTransformer(1, 200)
    with pytest.raises(ConfigError, match="at least 289"):
        small(window_s=2.0)
    with pytest.raises(ConfigError, match="rate"):
        small(rate=0.0)
    with pytest.raises(ConfigError, match="pool"):
        small(pool="max")
    with pytest.raises(ValueError, match="900 samples"):
        small()(torch.zeros(2, 1, 800))
    with pytest.raises(ValueError, match="float"):
        small()(torch.zeros(2, 1, 900, dtype=torch.long))
