"""Sleep staging: windows, scores, hypnogram, and classifiers on a frozen encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from torch import Tensor, nn

from tacit.data.series import SeriesSource
from tacit.encoders.base import Features
from tacit.encoders.series import (
    EpochClassifier,
    FrameTransformer,
    SeriesEncoder,
    SeriesTransformer,
    TemporalContext,
)
from tacit.errors import ConfigError, DataError
from tacit.evaluation import (
    context_windows,
    fit_epoch_classifier,
    fit_temporal_context,
    merge_windows,
    plot_hypnogram,
    predict_epochs,
    recording_positions,
    staging_scores,
)


@given(st.integers(1, 90), st.integers(1, 25), st.integers(1, 25), st.sampled_from(["pad", "skip"]))
@settings(max_examples=60, deadline=None)
def test_windows_cover_every_epoch(n: int, length: int, step: int, short: Any) -> None:
    step = min(step, length)
    windows = context_windows(n, length, step, short=short)
    if n < length and short == "skip":
        assert windows.shape == (0, length)
        return
    assert set(windows.unique().tolist()) - {-1} == set(range(n))
    real = windows[windows[:, -1] >= 0]
    assert bool((real.diff(dim=1) == 1).all())
    if n >= length:
        assert windows[-1, -1] == n - 1
        assert bool((windows >= 0).all())
    scores = torch.rand(*windows.shape, 3)
    merged = merge_windows(scores, windows, n)
    wanted = torch.stack([scores[windows == i].mean(0) for i in range(n)])
    assert torch.allclose(merged, wanted, atol=1e-6)


def test_windows_as_published_and_refused() -> None:
    train = context_windows(45, 20, 10)
    assert train[:, 0].tolist() == [0, 10, 20, 25]
    assert context_windows(40, 20, 20)[:, 0].tolist() == [0, 20, 20]  # the last one twice
    assert len(context_windows(20)) == 1
    with pytest.raises(DataError, match="shorter than the window of 20"):
        context_windows(5, short="error")
    with pytest.raises(ValueError, match="step <= length"):
        context_windows(50, 10, 11)
    with pytest.raises(ValueError, match="epoch 2 is in no window"):
        merge_windows(torch.zeros(1, 2, 1), torch.tensor([[0, 1]]), 3)
    with pytest.raises((ValueError, TypeCheckError)):
        merge_windows(torch.zeros(1, 3, 1), torch.tensor([[0, 1]]), 2)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    g = np.random.default_rng(seed)
    truth, guess = g.integers(0, 5, 40), g.integers(0, 5, 40)
    guess = np.where(g.random(40) < 0.5, truth, guess)
    scores = staging_scores(truth, torch.from_numpy(guess), 5)
    assert np.isclose(scores.accuracy, accuracy_score(truth, guess))
    assert np.isclose(scores.macro_f1, f1_score(truth, guess, average="macro"))
    assert np.isclose(scores.kappa, cohen_kappa_score(truth, guess))
    each = f1_score(truth, guess, average=None, labels=range(5), zero_division=np.nan)
    assert np.allclose(scores.per_class_f1, each, equal_nan=True)
    assert scores.confusion.sum() == 40
    assert scores.confusion[2, 3] == ((truth == 2) & (guess == 3)).sum()


def test_scores_leave_out_what_was_not_scored() -> None:
    scores = staging_scores([0, 1, -1, 1], [0, 1, 0, 0])
    assert scores.accuracy == 2 / 3
    same = staging_scores([1, 1], [1, 1], 5)
    assert (same.accuracy, same.macro_f1) == (1, 1)
    assert np.isnan(same.kappa)
    assert np.isnan(same.per_class_f1[[0, 2, 3, 4]]).all()
    for truth, guess, match in (
        ([0, 1], [0], "one label an epoch"),
        ([-1, -1], [0, 0], "no epoch is scored"),
        ([0, 1], [0, -1], "labels must be in"),
        ([0.5, 1.0], [0, 1], "one integer an epoch"),
    ):
        with pytest.raises(ValueError, match=match):
            staging_scores(truth, guess)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        staging_scores([0, 3], [0, 1], 3)


def test_hypnogram_draws_stages_and_errors(tmp_path: Path) -> None:
    truth = np.array([0, 0, 1, 2, 3, 3, 2, 4, 4, -1, 0])
    guess = np.array([0, 1, 1, 2, 3, 3, 2, 4, 0, 0, 0])
    figure = plot_hypnogram(truth, guess, tmp_path / "night.png", title="Night")
    scored, predicted = figure.axes
    assert [t.get_text() for t in scored.get_yticklabels()] == ["N3", "N2", "N1", "REM", "W"]
    level = scored.patches[0].get_data().values
    assert level[:8].tolist() == [4, 4, 2, 1, 0, 0, 1, 3]
    assert np.isnan(level[9])
    ticks = predicted.lines[-1].get_xdata() * 120 - 0.5  # 30-s epochs in hours
    assert np.allclose(ticks, [1, 8])
    assert "accuracy 80.0 %" in figure.get_suptitle()
    assert (tmp_path / "night.png").read_bytes()[:4] == b"\x89PNG"
    plot_hypnogram(truth, path=tmp_path / "night.svg")
    assert "<svg" in (tmp_path / "night.svg").read_text()
    other = plot_hypnogram([0, 2, 1], stages=["rest", "walk", "run"])
    assert [t.get_text() for t in other.axes[0].get_yticklabels()] == ["run", "walk", "rest"]
    with pytest.raises(ValueError, match="same number of epochs"):
        plot_hypnogram([0, 1], [0])
    with pytest.raises(ValueError, match="stage 2 has no name"):
        plot_hypnogram([0, 2], stages=["a", "b"])


class Mean(SeriesEncoder):
    """Four numbers of a series, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.dim = 1, 4
        self.norm = nn.BatchNorm1d(1)
        self.layer = nn.Linear(1, 4)

    def features(self, x: Tensor) -> Features:
        return Features(self.layer(self.norm(x.mean(-1))))


def night(n: int, seed: int, hide: bool = True) -> tuple[Tensor, Tensor]:
    """Two classes in blocks of 10; the level of an epoch says little of its class alone."""
    g = torch.Generator().manual_seed(seed)
    y = (torch.arange(n) // 10 + seed) % 2
    return y[:, None] + (1.2 if hide else 0.01) * torch.randn(n, 1, generator=g).expand(-1, 8), y


@pytest.mark.parametrize("kind", ["mamba", "lstm", "mha", "lstm_mha"])
def test_context_reads_along_time(kind: str) -> None:
    torch.manual_seed(0)
    model = TemporalContext(Mean(), kind, unfreeze="none", dim=16, n_classes=3).eval()
    x = torch.randn(4, 9, 8)
    out = model(x)
    assert out.shape == (4, 9, 3)
    changed = x.clone()
    changed[1, 5] += 1
    other = model(changed)
    rest = [0, 2, 3]
    assert torch.equal(other[rest], out[rest])  # never along the batch
    moved = (other[1] - out[1]).abs().amax(-1) > 1e-7
    assert moved[5:].all()
    assert bool(moved[:5].any()) == ("mha" in kind)  # the others are causal
    assert torch.equal(model(x[:, :, None]), out)  # (n, epochs, C, T)
    assert torch.allclose(model(x[:1]), out[:1], atol=1e-6)


def test_what_is_trained_of_the_encoder() -> None:
    base = FrameTransformer(1, 900, step_s=1.5, dim=16, heads=2, depth=2)
    trained = {
        mode: {
            name.removeprefix("encoder.")
            for name, p in TemporalContext(base, unfreeze=mode).named_parameters()  # type: ignore[arg-type]
            if p.requires_grad and name.startswith("encoder.")
        }
        for mode in ("none", "last", "all")
    }
    assert trained["none"] == set()
    last = {f"tokens.blocks.1.{part}" for part in ("norm2.weight", "norm2.bias")}
    last |= {f"tokens.blocks.1.mlp.{fc}.{p}" for fc in ("fc1", "fc2") for p in ("weight", "bias")}
    assert trained["last"] == last | {"tokens.norm.weight", "tokens.norm.bias"}
    assert "tokens.pos_embed" not in trained["all"]
    assert "cnn.trunk.conv.weight" in trained["all"]
    assert all(p.requires_grad for n, p in base.named_parameters() if n != "tokens.pos_embed")
    assert TemporalContext(SeriesTransformer(1, depth=1), "lstm").unfreeze == "last"
    model = TemporalContext(base).train()
    assert not model.encoder.training
    assert TemporalContext(base, unfreeze="all").train().encoder.training
    assert TemporalContext(base, frozen_eval=False).train().encoder.training


def test_embedding_norm_sees_every_position_apart() -> None:
    torch.manual_seed(0)
    model = TemporalContext(Mean(), unfreeze="none", dim=8).train()
    shift = torch.arange(6.0)[None, :, None]  # the same for all sequences
    x = torch.randn(5, 6, 8)
    assert torch.allclose(model(x), model(x + shift), atol=1e-4)
    with pytest.raises(ValueError, match="more than one sample"):
        model(x[:1])


def test_context_helps_where_labels_hang_together() -> None:
    torch.manual_seed(0)
    train, (x, y) = [night(200, s) for s in range(4)], night(300, 5)
    alone = EpochClassifier(Mean(), 2)
    fit_epoch_classifier(alone, train, epochs=20, lr=1e-2, batch_size=128)
    model = TemporalContext(Mean(), unfreeze="none", n_classes=2, dim=16)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    losses = fit_temporal_context(model, train, epochs=25, lr=1e-2, batch_size=16)
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())
    accuracy = {}
    for name, net in (("alone", alone), ("context", model)):
        scores = predict_epochs(net, x)
        assert torch.allclose(scores.sum(1), torch.ones(300), atol=1e-5)
        accuracy[name] = staging_scores(y, scores.argmax(1)).accuracy
    assert accuracy["context"] > accuracy["alone"] + 0.05


def test_fitting_repeats_and_leaves_the_global_generator_alone() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        model = TemporalContext(Mean(), "mha", n_classes=2, dim=16, unfreeze="all")
        state = torch.get_rng_state()
        losses = fit_temporal_context(model, [night(50, 0)], epochs=2, length=10, step=5, seed=4)
        assert torch.equal(torch.get_rng_state(), state)
        results.append((losses, predict_epochs(model, night(17, 1)[0], length=10, step=5)))
        assert not model.training
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    # a frozen encoder is run once; the numbers are those of running it in every step
    frozen = []
    for flag in ("none", "all"):
        torch.manual_seed(3)
        model = TemporalContext(Mean().eval(), n_classes=2, dim=16, unfreeze=flag)  # type: ignore[arg-type]
        model.frozen_eval = True
        for p in model.encoder.parameters():
            p.requires_grad_(False)
        frozen.append(fit_temporal_context(model, [night(50, 0)], epochs=2, length=10, step=5))
    assert np.allclose(frozen[0], frozen[1], rtol=1e-5)


def test_short_recordings_unscored_epochs_and_bad_input() -> None:
    torch.manual_seed(0)
    x, y = night(7, 0, hide=False)
    unscored = y.clone()
    unscored[2:] = -1
    model = TemporalContext(Mean(), unfreeze="none", n_classes=2, dim=16)
    fit_temporal_context(model, [(x, y), (x, unscored)], epochs=1)
    assert predict_epochs(model, x).shape == (7, 2)
    fit = fit_temporal_context
    for recordings, match in (
        ([], "no recordings"),
        ([(x, y)], "at least 2 windows"),
        ([(x, y[:5])], "a label an epoch"),
        ([(x, y), (x[:, :4], y)], "recording 1"),
        ([(x, y + 2), (x, y)], r"0\.\.1"),
        ([(x, torch.full((7,), -1)), (x, torch.full((7,), -1))], r"0\.\.1"),
        ([(x / 0, y), (x, y)], "NaN"),
    ):
        with pytest.raises(DataError, match=match):
            fit(model, recordings, epochs=1)
    with pytest.raises(ConfigError, match="Did you mean 'mamba'"):
        TemporalContext(Mean(), "mamb")
    with pytest.raises(ConfigError, match="Known: none, last, all"):
        TemporalContext(Mean(), unfreeze="first")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="use 'none' or 'all'"):
        TemporalContext(Mean())
    with pytest.raises(ConfigError, match="8 heads"):
        TemporalContext(Mean(), "mha", unfreeze="none", dim=12)
    with pytest.raises(ConfigError, match="expected an encoder"):
        EpochClassifier(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="expected sequences"):
        model(x)


def test_recordings_are_subjects_and_nights() -> None:
    values = np.arange(14.0).reshape(7, 1, 2)
    groups, onsets = np.array([1, 0, 1, 0, 1, 1, 0]), np.array([0.0, 0, 30, 30, 0, 30, 90])
    source = SeriesSource("x", values, rate=2, groups=groups, onsets=onsets)
    nights = [rows.tolist() for rows in recording_positions(source)]
    assert nights == [[1, 3, 6], [0, 2], [4, 5]]
    alone = SeriesSource("x", values, groups=groups)
    assert [rows.tolist() for rows in recording_positions(alone)] == [[1, 3, 6], [0, 2, 4, 5]]
    whole = recording_positions(SeriesSource("x", values))
    assert [rows.tolist() for rows in whole] == [[0, 1, 2, 3, 4, 5, 6]]
