"""The parts of NeuroNet's claim, and a very short run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tacit.claims import neuronet as claim
from tacit.errors import DataError


def test_spectra_find_the_band() -> None:
    time = torch.arange(2100) / claim.RATE
    x = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (2.0, 10.0, 20.0)])[:, None]
    bands, spectrum = claim.spectra(x)
    assert bands.argmax(1).tolist() == [0, 2, 3]
    assert spectrum.shape == (3, 134)
    assert np.isfinite(spectrum).all()


def test_sequences_stay_in_a_class_and_take_segments_of_it() -> None:
    labels = torch.arange(5).repeat_interleave(7)
    codes = labels[:, None].float() + torch.zeros(35, 3)
    sequences = claim.markov_sequences(codes, labels, np.random.default_rng(0), count=30, n=200)
    stay = [float((y.diff() == 0).float().mean()) for _, y in sequences]
    assert abs(np.mean(stay) - 0.9) < 0.01
    for x, y in sequences:
        assert x.shape == (200, 1, 3)
        assert torch.equal(x[:, 0, 0], y.float())
    counts = torch.cat([y for _, y in sequences]).bincount() / 6000
    assert (counts - 0.2).abs().max() < 0.05


def test_few_labels_are_drawn_from_every_class() -> None:
    labels = torch.arange(5).repeat_interleave(60)
    few = claim.few_per_class(labels, 10, seed=1)
    assert labels[few].bincount().tolist() == [10] * 5
    assert len(few.unique()) == 50
    assert not torch.equal(few, claim.few_per_class(labels, 10, seed=2))


def test_context_gains_from_order_only() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat_interleave(40)
    codes = torch.randn(5, 2, generator=g)[labels] + torch.randn(200, 2, generator=g)
    rows = claim.context(codes, labels, codes, labels, seed=0, scale=0.2)
    accuracy = {name: row["accuracy (%)"] for name, row in rows.items()}
    assert set(accuracy) == {claim.EPOCHS, claim.ORDERED, claim.SHUFFLED}
    assert accuracy[claim.ORDERED] > accuracy[claim.SHUFFLED] + 2
    assert accuracy[claim.SHUFFLED] > 35  # far above chance, 20 %


def test_other_data_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("1\n2\n3\n")
    with pytest.raises(DataError, match="not Bonn EEG"):
        claim.load(f"txt:{tmp_path}#rate=1")


def test_data_and_network_of_the_claim(test_data: Path) -> None:
    path = test_data / "eeg-bonn" / "bonn.zip"
    if not path.is_file():
        pytest.skip(f"no {path}")
    train_x, train_y, test_x, test_y = claim.load(f"txt:{path}")
    assert (train_x.shape, test_x.shape) == ((300, 1, 2100), (200, 1, 2100))
    assert abs(float(train_x.std()) - 1) < 1e-5
    assert train_y.bincount().tolist() == [60] * 5
    assert test_y.bincount().tolist() == [40] * 5
    method = claim.small_method(0, {"alpha": 0.0}).eval()
    assert method.encoder.n_frames == 7
    assert 0 <= claim.retrieval(method, test_x[:20]) <= 1
    assert claim.frame_std(method, test_x[:20]) > 0


def test_checks_read_the_rows() -> None:
    probes = ("band powers", "log spectrum", "untrained", *claim.VARIANTS)
    rows = {name: {claim.MANY: 70.0, claim.FEW: 60.0} for name in probes}
    for name in ("untrained", *claim.VARIANTS):
        rows[f"{name}: health"] = {"retrieval accuracy": 0.9, "std of frame features": 0.1}
    accuracy = {claim.EPOCHS: 70.0, claim.ORDERED: 80.0, claim.SHUFFLED: 71.0}
    rows |= {name: {"accuracy (%)": value} for name, value in accuracy.items()}
    checks = claim.NeuroNetClaim().checks(rows)
    assert all(check.holds for check in checks if check.decisive)
    assert sum(check.decisive for check in checks) == 5
    rows["hybrid"][claim.FEW] = 59.0
    rows[claim.SHUFFLED]["accuracy (%)"] = 76.0
    rows["hybrid: health"] = {"retrieval accuracy": 0.4, "std of frame features": 0.01}
    failed = [check for check in claim.NeuroNetClaim().checks(rows) if check.decisive]
    assert [check.holds for check in failed] == [False, False, False, True, False]
