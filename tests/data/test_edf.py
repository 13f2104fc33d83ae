"""Recordings in EDF: epochs, stages, units, rates, channels, subjects, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edf_files import write_edf

from tacit.data import SeriesSource, edf, open_source
from tacit.errors import DataError

pytest.importorskip("mne", reason="the extra `series` is not installed")
RATE = 10


def signal(seconds: int, seed: int = 0) -> np.ndarray:
    return 100 * np.random.default_rng(seed).uniform(-1, 1, seconds * RATE)


def night(path: Path, seconds: int = 95, **options) -> Path:
    signals = {"EEG Fpz-Cz": signal(seconds), "EOG": signal(seconds, 1)}
    return write_edf(path, signals, RATE, **options)


def test_epochs_in_microvolts_with_stages_of_the_same_file(tmp_path: Path) -> None:
    notes = [(0, 30, "Sleep stage W"), (30, 50, "Sleep stage 4"), (80, 15, "Movement time")]
    path = night(tmp_path / "a.edf", notes=notes)
    source = open_source(f"edf:{path}#channels=Fpz")
    assert isinstance(source, SeriesSource)
    assert (len(source), source.shape, source.rate) == (3, (1, 300), 10.0)
    assert source.channel_names == ["EEG Fpz-Cz"]
    assert source.class_names == ["W", "N1", "N2", "N3", "REM"]
    assert source.labels.tolist() == [0, 3, 3]  # the third: 20 of 30 s in stage 4
    assert source.onsets.tolist() == [0, 30, 60]
    values = source.batch([0, 1, 2]).numpy().ravel()
    np.testing.assert_allclose(values, signal(95)[:900], atol=0.02)


def test_units_and_windows(tmp_path: Path) -> None:
    path = night(tmp_path / "a.edf")
    micro = open_source(f"edf:{path}#window=5s,stride=2s")
    assert (len(micro), micro.shape) == (46, (2, 50))
    volts = open_source(f"edf:{path}#window=5s,stride=2s,unit=V")
    np.testing.assert_allclose(volts.batch([3]) * 1e6, micro.batch([3]), rtol=1e-4)
    assert micro.labels is None


def test_hypnogram_beside_the_recording(tmp_path: Path) -> None:
    night(tmp_path / "SC4011E0-PSG.edf")
    night(tmp_path / "SC4012E0-PSG.edf")
    night(tmp_path / "SC4021E0-PSG.edf")
    stages = [(0, 30, "Sleep stage 2"), (30, 30, "Sleep stage R"), (60, 30, "Sleep stage ?")]
    write_edf(tmp_path / "SC4011EH-Hypnogram.edf", {}, RATE, notes=stages)
    source = open_source(f"edf:{tmp_path}")
    assert source.labels.tolist() == [2, 4, -1] + [-1] * 6
    assert source.groups.tolist() == [0] * 6 + [1] * 3  # two nights of subject 01, one of 02
    assert source.recordings.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_hypnograms_belong_to_the_recording_of_their_name(tmp_path: Path) -> None:
    for number in ("1", "10", "2"):
        night(tmp_path / f"subject{number}_PSG.edf", seconds=30)
    for number, stage in (("1", "W"), ("10", "R"), ("3", "2")):
        path = tmp_path / f"subject{number}-Hypnogram.edf"
        write_edf(path, {}, RATE, notes=[(0, 30, f"Sleep stage {stage}")])
    source = open_source(f"edf:{tmp_path}")
    assert source.labels.tolist() == [4, 0, -1]  # 10, 1, 2
    assert [Path(what).name for what, _ in source.skipped] == ["subject3-Hypnogram.edf"]


def test_other_annotations_are_classes(tmp_path: Path) -> None:
    path = night(tmp_path / "a.edf", notes=[(0, 40, "rest"), (40, 55, "arm up")])
    source = open_source(f"edf:{path}#window=10s")
    assert source.class_names == ["arm up", "rest"]
    assert source.labels.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_subjects_by_the_patient_code(tmp_path: Path) -> None:
    for name, patient in (("a", "P7 M X X"), ("b", "P7 M X X"), ("c", "X X X X")):
        night(tmp_path / f"{name}.edf", patient=patient, seconds=30)
    assert open_source(f"edf:{tmp_path}").groups.tolist() == [0, 0, 1]


def test_rates(tmp_path: Path) -> None:
    night(tmp_path / "a.edf")
    with pytest.raises(DataError, match="sampled at 10 Hz, not at the expected 100 Hz"):
        open_source(f"edf:{tmp_path}#rate=100")
    assert open_source(f"edf:{tmp_path}#resample=5").shape == (2, 150)
    write_edf(tmp_path / "b.edf", {"EEG Fpz-Cz": np.zeros(800), "EOG": np.zeros(800)}, 20)
    with pytest.raises(DataError, match=r"a\.edf is sampled at 10 Hz and .*b\.edf at 20 Hz"):
        open_source(f"edf:{tmp_path}")
    source = open_source(f"edf:{tmp_path}#resample=10,constant=keep")
    assert (source.rate, source.shape, len(source)) == (10.0, (2, 300), 4)
    with pytest.raises(DataError, match="constant on every channel"):
        open_source(f"edf:{tmp_path}#resample=10")


def test_channels(tmp_path: Path) -> None:
    path = night(tmp_path / "a.edf")
    assert open_source(f"edf:{path}#channels=EOG+Fpz").channel_names == ["EOG", "EEG Fpz-Cz"]
    with pytest.raises(DataError, match="no channel called 'EMG'"):
        open_source(f"edf:{path}#channels=EMG")
    with pytest.raises(DataError, match="2 channels called 'E'"):
        open_source(f"edf:{path}#channels=E")
    write_edf(tmp_path / "b.edf", {"EMG": signal(40)}, RATE)
    with pytest.raises(DataError, match="Choose common ones with channels"):
        open_source(f"edf:{tmp_path}")


def test_damaged_files_are_skipped_and_named_or_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    night(tmp_path / "a.edf")
    (tmp_path / "b.edf").write_bytes(b"no recording")
    source = open_source(f"edf:{tmp_path}")
    assert len(source) == 3
    assert source.skipped[0][0].endswith("b.edf")
    assert "1 of 2 could not be read" in caplog.text
    with pytest.raises(DataError, match="cannot be read as EDF"):
        open_source(f"edf:{tmp_path}", strict=True)
    with pytest.raises(DataError, match="no readable"):
        open_source(f"edf:{tmp_path / 'b.edf'}")
    alone = write_edf(tmp_path / "a-Hypnogram.edf", {}, RATE, notes=[(0, 30, "Sleep stage W")])
    with pytest.raises(DataError, match="annotations and no signal"):
        open_source(f"edf:{alone}")


def test_a_recording_that_is_cut_off_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = night(tmp_path / "a.edf")
    open_source(f"edf:{path}", strict=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert len(open_source(f"edf:{path}")) == 2
    assert "is cut off: its header counts 95 records" in caplog.text
    with pytest.raises(DataError, match="is cut off"):
        open_source(f"edf:{path}", strict=True)


def test_a_header_that_is_filled_up_with_zero_bytes() -> None:
    assert edf._count(b"95\0\0\0\0\0\0") == edf._count(b"95      ") == 95
    assert edf._count(b"-1      ") == -1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("edf", "needs a file"),
        ("edf:/no/such/folder", "does not exist"),
        ("edf:x#unit=kV", "not one of uV, mV, V"),
        ("edf:x#chanels=a", "Did you mean 'channels'"),
    ],
)
def test_refused(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(spec)


def test_a_recording_shorter_than_an_epoch(tmp_path: Path) -> None:
    path = night(tmp_path / "a.edf", seconds=20)
    with pytest.raises(DataError, match="200 samples, fewer than the window of 300"):
        open_source(f"edf:{path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no readable"):
        open_source(f"edf:{tmp_path / 'empty'}")
