"""Encoders of series: published sizes, written-out parts, shapes, and what they refuse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tacit.encoders.series import (
    SERIES_ENCODERS,
    TCN,
    FourierEncoder,
    LatentMapper,
    MappedEncoder,
    ResNet1D,
    ScalogramEncoder,
    SeriesTransformer,
)
from tacit.encoders.series.resnet import PreActBlock, SameConv1d
from tacit.encoders.series.transformer import sincos_positions
from tacit.errors import ConfigError
from tacit.views import fourier_view, morlet_scalogram

OWN = ("resnet1d", "fourier", "scalogram", "tcn", "transformer")


def build(name: str, channels: int = 2, length: int = 40):
    cls, defaults = SERIES_ENCODERS[name]
    sized = {"length": length} if name in ("fourier", "scalogram") else {}
    torch.manual_seed(0)
    return cls(in_channels=channels, **sized, **defaults).eval()


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    """0.206, 0.056 and 0.519 million with the parts that the official code does not use."""
    unused_norm, unused_head = 2 * 32, 64 * 10 + 10
    assert size(ResNet1D(1)) + unused_norm + unused_head == 206_154
    assert size(ScalogramEncoder(1, 48, 200)) == 519_393
    unused_norms, unused_linear = 2 * 2 * (16 + 32 + 32 + 64), 64 * 128 + 128
    assert round((size(FourierEncoder(1, 200)) + unused_norms + unused_linear) / 1e6, 3) == 0.056
    assert size(LatentMapper(128, 64)) == 449
    assert size(LatentMapper(128, 1)) == 8


@pytest.mark.parametrize("name", OWN)
def test_one_vector_a_series_and_gradients(name: str) -> None:
    encoder = build(name).train()
    x = torch.randn(5, 2, 40, generator=torch.Generator().manual_seed(0))
    out = encoder(x)
    assert out.shape == (5, 128) == (5, encoder.dim)
    out.square().sum().backward()
    for key, p in encoder.named_parameters():
        assert p.grad is not None, key
        if p.ndim > 1:
            assert p.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", OWN)
def test_a_sample_does_not_see_the_others_in_eval_mode(name: str) -> None:
    encoder = build(name).double()
    x = torch.randn(4, 2, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]))


@pytest.mark.parametrize("name", OWN)
def test_refused_batches(name: str) -> None:
    encoder = build(name)
    with pytest.raises(ValueError, match="batch axis"):
        encoder(torch.zeros(2, 40))
    with pytest.raises(ValueError, match="expected 2 channels, got 3"):
        encoder(torch.zeros(1, 3, 40))
    with pytest.raises(ValueError, match="expected float"):
        encoder(torch.zeros(1, 2, 40, dtype=torch.int64))
    if name in ("fourier", "scalogram"):
        with pytest.raises(ValueError, match="built for series of 40"):
            encoder(torch.zeros(1, 2, 44))


@pytest.mark.parametrize(("length", "stride"), [(7, 1), (7, 2), (8, 2), (5, 3), (1, 2)])
def test_same_padding(length: int, stride: int) -> None:
    conv = SameConv1d(1, 1, 5, stride).double()
    x = torch.randn(1, 1, length, dtype=torch.float64)
    out = conv(x)
    steps = -(-length // stride)
    assert out.shape[-1] == steps
    total = max(0, (steps - 1) * stride + 5 - length)
    padded = F.pad(x[0, 0], (total // 2, total - total // 2))
    weight, bias = conv.weight[0, 0], conv.bias
    expected = [padded[i * stride : i * stride + 5] @ weight + bias[0] for i in range(steps)]
    torch.testing.assert_close(out[0, 0], torch.stack(expected))


@pytest.mark.parametrize("length", [6, 7])
def test_shortcut_pools_and_pads_channels(length: int) -> None:
    block = PreActBlock(2, 5, kernel=3, stride=2, lead=False, norm=False)
    for p in block.parameters():
        torch.nn.init.zeros_(p)
    x = torch.randn(1, 2, length) - 3  # below zero, so that a padding zero shows
    out = block(x)
    pairs = F.pad(x, (0, length % 2)).unflatten(-1, (-1, 2)).amax(-1)
    torch.testing.assert_close(out[:, 1:3], pairs)
    assert bool((out[:, [0, 3, 4]] == 0).all())


def test_resnet_strides_and_widths() -> None:
    blocks = ResNet1D(1).blocks
    assert [b.stride for b in blocks] == [1, 2] * 4
    assert [b.conv1.out_channels for b in blocks] == [32] * 4 + [64] * 4
    assert ResNet1D(1).features(torch.zeros(2, 1, 100)).patches.shape == (2, 7, 64)
    assert ResNet1D(3, out_dim=16, base=8, blocks=9)(torch.zeros(2, 3, 33)).shape == (2, 16)


def test_dropout_only_in_training() -> None:
    encoder, x = ResNet1D(1).eval(), torch.randn(4, 1, 64)
    assert torch.equal(encoder(x), encoder(x))
    encoder.train()
    assert not torch.equal(encoder(x), encoder(x))


def test_fourier_encoder_reads_spectra_or_series() -> None:
    encoder, x = build("fourier"), torch.randn(3, 2, 40)
    assert torch.equal(encoder(x), encoder(fourier_view(x)))
    with pytest.raises(ValueError, match=r"expected coefficients \(n, 2, 21\)"):
        encoder(fourier_view(torch.zeros(1, 2, 42)))


def test_fourier_encoder_sees_phase_and_is_finite_at_zero() -> None:
    encoder, x = build("fourier"), torch.randn(3, 2, 40)
    amplitude, phase = encoder(x).chunk(2, 1)
    shifted = encoder(x.roll(5, -1))
    torch.testing.assert_close(shifted[:, :64], amplitude, atol=1e-4, rtol=1e-4)
    assert (shifted[:, 64:] - phase).abs().max() > 0.01
    zero = torch.zeros(1, 2, 40, requires_grad=True)
    out = encoder(zero)
    assert torch.equal(out, encoder(torch.full((1, 2, 40), 1e-12)))
    out.sum().backward()
    assert bool(zero.grad.isfinite().all())


def test_scalogram_encoder_reads_scalograms_or_series() -> None:
    encoder, x = build("scalogram"), torch.randn(3, 2, 40)
    assert torch.equal(encoder(x), encoder(morlet_scalogram(x)))
    with pytest.raises(ValueError, match=r"expected scalograms \(n, 2, 48, 40\)"):
        encoder(torch.zeros(1, 2, 48, 44))
    few = ScalogramEncoder(1, 8, 32, 4, out_dim=10)
    assert few(torch.zeros(2, 1, 8, 32)).shape == (2, 10)
    with pytest.raises(ValueError, match="48 scales, this encoder has 8"):
        few(torch.zeros(2, 1, 32))


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: ScalogramEncoder(1, 48, 30), "use a window of 32 samples"),
        (lambda: ScalogramEncoder(1, 48, 150), "window of 148 samples, or pad to 152"),
        (lambda: ScalogramEncoder(1, 46, 200), "divisible by 4"),
        (lambda: FourierEncoder(1, 1), "length >= 2"),
        (lambda: ResNet1D(0), "must be positive"),
        (lambda: TCN(1, kernel=4), "odd kernel"),
        (lambda: SeriesTransformer(1, dim=7), "even dim"),
        (lambda: LatentMapper(127, 1), "even dim"),
        (lambda: MappedEncoder(ResNet1D(1), fourier=False, wavelet=False), "or both"),
    ],
)
def test_refused_sizes(build_it, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_it()


def test_tcn_sees_as_far_as_it_says() -> None:
    encoder = TCN(1, out_dim=4, hidden=4, depth=2, kernel=3).double()
    x = torch.randn(1, 1, 81, dtype=torch.float64, requires_grad=True)
    encoder.features(x).patches[0, 40].sum().backward()
    seen = x.grad[0, 0].nonzero()[:, 0]
    reach = 2 * (1 + 2 + 4)  # two convolutions of width 3 with dilations 1, 2, 4
    assert (int(seen.min()), int(seen.max())) == (40 - reach, 40 + reach)


def test_transformer_pads_to_whole_patches_and_knows_the_order() -> None:
    encoder = SeriesTransformer(1, patch=8, dim=16, depth=1, heads=2).eval()
    x = torch.randn(2, 1, 20)
    padded = F.pad(x, (0, 4))
    torch.testing.assert_close(encoder(x), encoder(padded))
    swapped = padded[..., [*range(8, 16), *range(8), *range(16, 24)]]
    assert (encoder(swapped) - encoder(padded)).abs().max() > 1e-5
    table = sincos_positions(3, 4)
    p = torch.arange(3.0)
    expected = torch.stack([p.sin(), p.cos(), (p / 100).sin(), (p / 100).cos()], 1)
    torch.testing.assert_close(table, expected)


def test_mapper_is_a_convolution_and_its_transpose() -> None:
    mapper = LatentMapper(6, 1)
    x = torch.randn(2, 6)
    w, b = mapper.conv.weight[0, 0], mapper.conv.bias[0]
    v, c = mapper.deconv.weight[0, 0], mapper.deconv.bias[0]
    for row, out in zip(x, mapper(x)):
        padded = F.pad(row, (1, 1))
        hidden = torch.stack([(padded[2 * i : 2 * i + 3] * w).sum() + b for i in range(3)]).relu()
        expected = [c] * 6
        for i in range(3):
            for k in range(3):
                if 0 <= 2 * i + k - 1 < 6:
                    expected[2 * i + k - 1] = expected[2 * i + k - 1] + hidden[i] * v[k]
        torch.testing.assert_close(out, torch.stack(expected).flatten())
    with pytest.raises(ValueError, match=r"\(n, 6\)"):
        mapper(torch.zeros(2, 5))


def test_mapped_features_are_fourier_time_wavelet() -> None:
    encoder = MappedEncoder(ResNet1D(1)).eval()
    x = torch.randn(3, 1, 64)
    h = encoder.time(x)
    fourier, time, wavelet = encoder(x).chunk(3, 1)
    assert torch.equal(time, h)
    assert torch.equal(fourier, encoder.map_fourier(h))
    assert torch.equal(wavelet, encoder.map_wavelet(h))
    only = MappedEncoder(ResNet1D(1), fourier=False).eval()
    assert torch.equal(only(x)[:, :128], only.time(x))
    assert only.dim == 256
