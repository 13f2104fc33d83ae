"""Fourier view and scalogram: the written-out recipe, PyWavelets' values, invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import ConfigError
from tacit.views import fourier_view, morlet_scalogram, scalogram_frequencies
from tacit.views.spectral import default_scales

# |cwt(x, [1, 2, 7.5, 128], "cmor1-1")| of PyWavelets 1.9 at times 0, 13, 39 for the x of `chirp`
PYWAVELETS = [
    [0.09413505177853089, 0.028321101497158312, 0.015015910760523195],
    [0.13487065599428397, 0.00018811818124353827, 0.12288097746204965],
    [0.31823733031246026, 0.027639114578871155, 0.3564229806017258],
    [0.23283237708438387, 0.23826831857591585, 0.2348855084211287],
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def written_out(x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The recipe step by step, one scale at a time."""
    t = np.linspace(-8, 8, 4096)
    psi = np.pi**-0.5 * np.exp(-(t**2)) * np.exp(2j * np.pi * t)
    integral = np.conj(np.cumsum(psi)) * (t[1] - t[0])
    rows = []
    for a in scales:
        j = [int(m / (a * (t[1] - t[0]))) for m in range(int(np.ceil(16 * a + 1)))]
        kernel = integral[[i for i in j if i < 4096]][::-1]
        coefficients = -np.sqrt(a) * np.diff(np.convolve(x, kernel))
        d = (len(coefficients) - len(x)) / 2
        rows.append(coefficients[int(np.floor(d)) : len(coefficients) - int(np.ceil(d))])
    return np.abs(rows)


@pytest.mark.parametrize("time", [2, 33, 200])
def test_scalogram_is_the_recipe(time: int) -> None:
    x = noise(2, 3, time)
    out = morlet_scalogram(x, fs=25)
    assert out.shape == (2, 3, 48, time)
    np.testing.assert_allclose(
        out[1, 2].numpy(), written_out(x[1, 2].numpy(), default_scales()), atol=1e-13
    )


def test_scalogram_has_the_values_of_pywavelets() -> None:
    chirp = np.cos(0.3 * np.arange(40.0)) + 0.01 * np.arange(40.0)
    out = morlet_scalogram(torch.from_numpy(chirp), 1.0, [1, 2, 7.5, 128])
    np.testing.assert_allclose(out[:, [0, 13, 39]].numpy(), PYWAVELETS, rtol=1e-9)


def test_small_scales_are_not_a_sampled_wavelet() -> None:
    """At a = 1 a sampled Morlet aliases to a constant; this transform is far smaller."""
    x = noise(1, 1, 200)
    t = np.arange(-8, 9.0)
    sampled = np.convolve(x[0, 0].numpy(), np.pi**-0.5 * np.exp(-(t**2)), "same")
    assert morlet_scalogram(x, 1.0, [1]).square().mean() < 0.1 * (sampled**2).mean()


def test_single_precision_agrees() -> None:
    x = noise(4, 1, 128)
    single = morlet_scalogram(x.float(), 25)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), morlet_scalogram(x, 25), atol=2e-6, rtol=1e-5)


def test_a_tone_is_found_at_its_frequency() -> None:
    x = torch.sin(2 * torch.pi * 3 * torch.arange(400, dtype=torch.float64) / 50)
    strongest = int(morlet_scalogram(x, 50)[:, 200].argmax())
    assert scalogram_frequencies(50)[strongest] == pytest.approx(3, rel=0.06)


@given(st.integers(2, 90), st.integers(0, 99), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_invariances(time: int, seed: int, amplitude: float) -> None:
    x = noise(2, time, seed=seed)
    w = morlet_scalogram(x, 1.0)
    torch.testing.assert_close(morlet_scalogram(-x, 1.0), w)
    torch.testing.assert_close(morlet_scalogram(amplitude * x, 1.0), amplitude * w)
    f = fourier_view(x)
    torch.testing.assert_close(fourier_view(amplitude * x).abs(), amplitude * f.abs())
    shifted = fourier_view(x.roll(time // 3, -1))
    torch.testing.assert_close(shifted.abs(), f.abs())
    torch.testing.assert_close(torch.fft.irfft(f, time, norm="ortho"), x)
    weight = torch.full((time // 2 + 1,), 2.0, dtype=torch.float64)
    weight[0] = 1
    if time % 2 == 0:
        weight[-1] = 1
    torch.testing.assert_close((f.abs() ** 2 * weight).sum(-1), (x**2).sum(-1))


def test_fourier_view_written_out() -> None:
    x = noise(7)
    n = torch.arange(7, dtype=torch.float64)
    for k, value in enumerate(fourier_view(x)):
        expected = (x * torch.exp(-2j * torch.pi * k * n / 7)).sum() / 7**0.5
        torch.testing.assert_close(value, expected)


def test_gradients() -> None:
    x = noise(2, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: morlet_scalogram(x, 1.0, [1, 3, 20]), x)
    assert torch.autograd.gradcheck(lambda x: fourier_view(x).abs(), x)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(5, 2, 40)
    whole = morlet_scalogram(x, 1.0)
    monkeypatch.setattr("tacit.views.spectral.CHUNK_BYTES", 1)
    assert torch.equal(morlet_scalogram(x, 1.0), whole)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([1.0, torch.nan]), "1 of 2 values are NaN"),
        (torch.ones(3, dtype=torch.int64), "floating-point"),
        (torch.ones(2, 0), "time axis"),
    ],
)
@pytest.mark.parametrize("view", [fourier_view, morlet_scalogram])
def test_refused(view, x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view(x)


def test_refused_options() -> None:
    x = noise(1, 8)
    with pytest.raises(ConfigError, match="scales"):
        morlet_scalogram(x, 1.0, [0.01])
    with pytest.raises(ConfigError, match="must be > 0"):
        morlet_scalogram(x, 0.0)
    with pytest.raises(ValueError, match="two time steps"):
        morlet_scalogram(noise(3, 1), 1.0)
