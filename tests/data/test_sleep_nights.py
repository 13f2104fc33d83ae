"""Sleep-EDF from files to stages: pairs of PSG and hypnogram, subjects apart, staging metrics."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from edf_files import write_edf
from typer.testing import CliRunner

import tacit
from tacit import labelled
from tacit.cli import app
from tacit.data import open_source
from tacit.evaluation import plot_hypnogram, recording_positions, staging_probe

pytest.importorskip("mne", reason="the extra `series` is not installed")
RATE, EPOCHS = 10, 12
NAMES = ("W", "1", "2", "3", "4", "R", "?")
CODES = (0, 1, 2, 3, 3, 4, -1)
TINY = {
    "encoder_options": {"window_s": 29.0, "step_s": 0.5, "dim": 8, "depth": 1, "heads": 2},
    "options": {
        "mask_ratio": 0.5, "dec_dim": 8, "dec_heads": 2, "dec_depth": 1,
        "proj_hidden_dim": 8, "proj_output_dim": 8,
    },
}  # fmt: skip


def stages(subject: int, night: int) -> np.ndarray:
    return np.repeat(np.random.default_rng(10 * subject + night).permutation(7), 2)[:EPOCHS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects, two nights each; a stage is a frequency."""
    folder = tmp_path_factory.mktemp("sleep")
    t = np.arange(30 * RATE) / RATE
    for subject in range(5):
        for night in (1, 2):
            order, stem = stages(subject, night), f"SC4{subject:02d}{night}"
            g = np.random.default_rng(subject)
            waves = [40 * np.sin(2 * np.pi * (0.3 + 0.6 * s) * t) for s in order]
            signal = np.concatenate(waves) + 5 * g.normal(size=EPOCHS * len(t))
            channels = {"EEG Fpz-Cz": signal, "EOG horizontal": g.normal(size=len(signal))}
            write_edf(folder / f"{stem}E0-PSG.edf", channels, RATE)
            notes = [(30.0 * i, 30.0, f"Sleep stage {NAMES[s]}") for i, s in enumerate(order)]
            write_edf(folder / f"{stem}EC-Hypnogram.edf", {}, RATE, notes=notes)
    return folder


def test_pairs_are_read_and_subjects_stay_whole(folder: Path) -> None:
    spec = f"edf:{folder}#channels=Fpz-Cz"
    source = open_source(spec)
    nights = recording_positions(source)
    assert len(nights) == 10
    for number, rows in enumerate(nights):
        subject, night = divmod(number, 2)
        wanted = np.array(CODES)[stages(subject, night + 1)]
        assert source.labels[rows].tolist() == wanted.tolist()
        assert source.recording_name(rows[0]) == f"SC4{subject:02d}{night + 1}E0-PSG.edf"
    train, test = (open_source(spec, split=split) for split in ("train", "test"))
    assert not set(train.groups) & set(test.groups)
    assert (len(train), len(test)) == (96, 24)  # a whole subject of two nights


def test_pretrain_and_stage_from_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "staging_probe", partial(staging_probe, epochs=3))
    spec = f"edf:{folder}#channels=Fpz-Cz"
    run = tacit.pretrain(
        "neuronet", spec, out=tmp_path / "run", steps=2, batch_size=16, progress=False, **TINY
    )
    options = ["evaluate", str(run.path), "--probe", "staging", "--probe", "knn"]
    done = CliRunner().invoke(app, options, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for word in ("staging macro_f1", "staging kappa", "staging f1 REM", "untrained", "raw"):
        assert word in done.output
    assert str(run.path / "hypnograms") in done.output
    pictures = sorted(path.name for path in (run.path / "hypnograms").iterdir())
    assert len(pictures) == 2  # both nights of the held-out subject
    assert pictures[0].startswith("001-SC4")
    assert pictures[0][4:9] == pictures[1][4:9]
    rows = run.evaluation["rows"]
    assert set(rows) == {"encoder", "untrained", "raw"}
    assert rows["encoder"].keys() == rows["raw"].keys()
    assert "staging accuracy" in run.report().read_text()
    for options, message in (
        ({"train_samples": 5}, "whole recordings"),
        ({"data": np.zeros((20, 8, 8), np.uint8)}, "image data"),
    ):
        with pytest.raises(tacit.errors.TacitError, match=message):
            run.evaluate("staging", **options)


def test_the_time_axis_counts_epochs_without_a_rate() -> None:
    figure = plot_hypnogram([0, 1, 1, 0], epoch_seconds=None)
    assert figure.axes[-1].get_xlabel() == "epochs"
    assert figure.axes[-1].get_xlim() == (0.0, 4.0)
