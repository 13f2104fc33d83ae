"""Series from files: options, missing values, lengths, windows, rates; ucr, csv, npz, ppg-ieee."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.data import SeriesSource, open_source
from tacit.data.series_assemble import Recording, assemble, majority, resampled
from tacit.data.series_options import SeriesOptions, split_spec
from tacit.data.spec import spec_modality
from tacit.errors import DataError

RNG = np.random.default_rng(0)


def recordings(*lengths: int, channels: int = 1) -> list[Recording]:
    return [Recording(RNG.normal(size=(channels, n)), f"r{i}", i) for i, n in enumerate(lengths)]


def everything(source: SeriesSource) -> np.ndarray:
    return source.batch(np.arange(len(source))).numpy()


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# -- options


def test_options_are_read_and_own_ones_apart() -> None:
    file, options, own = split_spec("a.csv#window=8s,missing=drop,rate=25,id=x", "csv", own=("id",))
    assert file == "a.csv"
    assert options == SeriesOptions(rate=25.0, window="8s", missing="drop")
    assert own == {"id": "x"}


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("windw=3", "Did you mean 'window'"),
        ("missing=interpolat", "Did you mean 'interpolate'"),
        ("rate=-5", "rate=-5 is not a number above 0"),
        ("length=2.5", "length=2.5 is not a number"),
        ("rate=inf", "not a number above 0"),
        ("window", "not of the form"),
    ],
)
def test_bad_options(fragment: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_spec(f"x#{fragment}", "ucr")


# -- assembling


def test_unequal_lengths_are_refused_padded_cropped_or_stretched() -> None:
    parts = recordings(5, 8, 6)
    with pytest.raises(DataError, match="5 to 8 samples"):
        assemble("x", parts, SeriesOptions())
    padded = everything(assemble("x", parts, SeriesOptions(unequal="pad")))
    assert padded.shape == (3, 1, 8)
    np.testing.assert_allclose(padded[0, 0, 5:], parts[0].values[0, -1], rtol=1e-6)
    cropped = everything(assemble("x", parts, SeriesOptions(unequal="crop")))
    np.testing.assert_allclose(cropped[1, 0], parts[1].values[0, :5], rtol=1e-6)
    stretched = everything(assemble("x", parts, SeriesOptions(unequal="interpolate")))
    expected = np.interp(np.linspace(0, 4, 8), np.arange(5), parts[0].values[0])
    np.testing.assert_allclose(stretched[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("length", [4, 12])
def test_length_brings_all_series_to_it(length: int) -> None:
    assert assemble("x", recordings(8, 8), SeriesOptions(length=length)).shape == (1, length)


def test_missing_values_are_refused_interpolated_or_dropped() -> None:
    parts = recordings(6, 6, 6)
    parts[1].values[0, [0, 3]] = np.nan, np.inf
    with pytest.raises(DataError, match=r"1 of 3 series have missing .* missing=interpolate"):
        assemble("x", parts, SeriesOptions())
    filled = everything(assemble("x", parts, SeriesOptions(missing="interpolate")))
    row = parts[1].values[0]
    np.testing.assert_allclose(filled[1, 0, 3], (row[2] + row[4]) / 2, rtol=1e-6)
    np.testing.assert_allclose(filled[1, 0, 0], row[1], rtol=1e-6)
    dropped = assemble("x", parts, SeriesOptions(missing="drop"))
    assert dropped.labels.tolist() == [0, 2]
    assert dropped.skipped == [("1 of 3 series", "missing values or constant")]
    for part in parts:
        part.values[0, 0] = np.nan
    with pytest.raises(DataError, match="3 of 3 series"):
        assemble("x", parts, SeriesOptions(missing="drop"))


def test_a_channel_without_any_value_cannot_be_interpolated() -> None:
    parts = recordings(5, channels=2)
    parts[0].values[1] = np.nan
    with pytest.raises(DataError, match="r0: channel 1 has no value"):
        assemble("x", parts, SeriesOptions(missing="interpolate"))


def test_windows_strides_onsets_groups() -> None:
    parts = recordings(10, 13)
    source = assemble("x", parts, SeriesOptions(window="4", stride="3", rate=2.0))
    assert source.groups.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert source.onsets.tolist() == [0.0, 1.5, 3.0, 0.0, 1.5, 3.0, 4.5]
    np.testing.assert_allclose(
        everything(source)[5, 0], parts[1].values[0, 6:10].astype(np.float32)
    )
    seconds = assemble("x", parts, SeriesOptions(window="2s", rate=2.0))
    assert len(seconds) == 2 + 3
    assert seconds.rate == 2.0


def test_labels_of_windows_are_those_of_most_samples() -> None:
    label = np.array([0, 0, 0, 1, 1, 1, -1, -1, -1, 2])
    source = assemble("x", [Recording(RNG.normal(size=(1, 10)), "r", label)], options(window="5"))
    assert source.labels.tolist() == [0, -1]
    assert source.groups.tolist() == [0, 5]
    assert majority(np.array([3, 1, 1, 3])) == 1


def test_one_recording_is_split_in_time() -> None:
    source = assemble("x", recordings(1000), SeriesOptions(window="10"))
    assert source.groups.tolist() == sorted(list(range(10)) * 10)
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (80, 20)
    assert not set(train.groups) & set(test.groups)


def options(**values: str) -> SeriesOptions:
    return SeriesOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"window": "9"}, "fewer than the window of 9"),
        ({"window": "2s"}, "needs the sampling rate"),
        ({"window": "1.5"}, "not a whole number"),
        ({"window": "x"}, "not a whole number"),
        ({"window": "0.3s", "rate": 2.0}, "at 2 Hz"),
        ({"stride": "2"}, "needs window"),
        ({"resample": 5.0}, "rate=HZ"),
    ],
)
def test_bad_windows_and_rates(chosen: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assemble("x", recordings(8), SeriesOptions(**chosen))


def test_a_short_series_can_be_padded_to_the_window() -> None:
    source = assemble("x", recordings(3, 8), SeriesOptions(window="5", unequal="pad"))
    assert source.shape == (1, 5)
    assert len(source) == 2


def test_another_rate_than_expected_is_an_error() -> None:
    with pytest.raises(DataError, match="sampled at 100 Hz, not at the expected 50 Hz"):
        assemble("x", recordings(8), SeriesOptions(rate=50.0), rate=100.0)


def test_resampling_keeps_a_slow_tone_and_its_labels() -> None:
    t = np.arange(400) / 100
    label = np.repeat([0, 1], 200)
    out = resampled(Recording(np.sin(2 * np.pi * 2 * t)[None] + 5, "r", label), 100, 40)
    assert out.values.shape == (1, 160)
    expected = np.sin(2 * np.pi * 2 * np.arange(160) / 40) + 5
    np.testing.assert_allclose(out.values[0, 10:-10], expected[10:-10], atol=0.01)
    np.testing.assert_array_equal(out.label, np.repeat([0, 1], 80))
    source = assemble("x", recordings(100), SeriesOptions(rate=100.0, resample=50.0, window="1s"))
    assert (source.rate, source.shape) == (50.0, (1, 50))


@pytest.mark.parametrize("to", [25.0, 50.0, 70.0, 200.0])
@pytest.mark.parametrize("at", [0, 101, 199])
def test_resampling_does_not_hide_a_gap(to: float, at: int) -> None:
    part = Recording(np.sin(np.arange(200.0) / 9)[None], "r")
    part.values[0, at] = np.nan
    options = {"rate": 100.0, "resample": to, "window": "1s"}
    with pytest.raises(DataError, match="missing=interpolate"):
        assemble("x", [part], SeriesOptions(**options))
    assert len(assemble("x", [part], SeriesOptions(**options, missing="drop"))) == 1
    filled = assemble("x", [part], SeriesOptions(**options, missing="interpolate"))
    assert len(filled) == 2


def test_constant_series_are_refused_or_dropped() -> None:
    parts = recordings(5, 5)
    parts[0].values[:] = 3
    with pytest.raises(DataError, match="constant=drop"):
        assemble("x", parts, SeriesOptions())
    assert assemble("x", parts, SeriesOptions(constant="drop")).labels.tolist() == [1]
    assert len(assemble("x", parts, SeriesOptions(constant="keep"))) == 2


def test_median_scaling_takes_the_unit_away() -> None:
    x = RNG.normal(size=(1, 500))
    volts = assemble("x", [Recording(1e-5 * x + 2, "r")], SeriesOptions(scale="median"))
    values = everything(volts)[0, 0]
    assert abs(float(np.median(values))) < 1e-6
    assert float(np.median(np.abs(values))) == pytest.approx(1, rel=1e-5)


def test_different_channels_are_refused() -> None:
    parts = [*recordings(5), *recordings(5, channels=2)]
    with pytest.raises(DataError, match="1 and 2 channels"):
        assemble("x", parts, SeriesOptions())
    with pytest.raises(DataError, match="no series"):
        assemble("x", [], SeriesOptions())


# -- ucr


def test_ucr_bundled_sets() -> None:
    train, test = (open_source("ucr:BasicMotions", split=s) for s in ("train", "test"))
    assert train.shape == test.shape == (6, 100)
    assert len(train) == len(test) == 40
    assert train.class_names == test.class_names == ["badminton", "running", "standing", "walking"]
    assert np.bincount(train.labels).tolist() == [10] * 4
    assert open_source("ucr:BasicMotions").fingerprint == train.fingerprint


def test_ucr_unequal_lengths() -> None:
    with pytest.raises(DataError, match="7 to 26 samples"):
        open_source("ucr:JapaneseVowels")
    assert open_source("ucr:JapaneseVowels#unequal=pad").shape == (12, 26)
    assert open_source("ucr:JapaneseVowels#unequal=interpolate,length=32").shape == (12, 32)


def test_ucr_folder(tmp_path: Path) -> None:
    header = (
        "@problemName Tiny\n@timestamps false\n@missing true\n@univariate true\n"
        "@equalLength true\n@seriesLength 4\n@classLabel true a b\n@data\n"
    )
    write(tmp_path / "Tiny_TRAIN.ts", header + "1,2,3,4:b\n4,?,2,1:a\n")
    with pytest.raises(DataError, match="missing"):
        open_source(f"ucr:Tiny@{tmp_path}")
    source = open_source(f"ucr:Tiny@{tmp_path}#missing=interpolate")
    assert source.labels.tolist() == [1, 0]
    assert everything(source)[1, 0].tolist() == [4, 3, 2, 1]
    with pytest.raises(DataError, match="there is no Tiny_TEST"):
        open_source(f"ucr:Tiny@{tmp_path}", split="test")
    with pytest.raises(DataError, match="Did you mean 'Tiny'"):
        open_source(f"ucr:Tinny@{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ucr", "name of a data set"),
        ("ucr:BasicMotion", "Did you mean 'BasicMotions'"),
        ("ucr:X@/no/such/folder", "does not exist"),
        ("ucr:BasicMotions#window=101", "fewer than the window"),
    ],
)
def test_ucr_refused(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(spec)


# -- csv


def test_csv_wide(tmp_path: Path) -> None:
    text = "class,t0,t1,t2\nup,1,2,3\ndown,3,2,1\nup,0,,5\n"
    path = write(tmp_path / "w.csv", text)
    source = open_source(f"csv:{path}#missing=interpolate")
    assert source.class_names == ["down", "up"]
    assert source.labels.tolist() == [1, 0, 1]
    assert everything(source)[2, 0].tolist() == [0, 2.5, 5]


def test_csv_long_with_channels_as_columns(tmp_path: Path) -> None:
    rows = ["case,time,x,y,label,subject"]
    rows += [
        f"{c},{t},{t * (c + 1)},{-t},{c % 2},{7 + c // 2}" for c in (1, 0, 2) for t in (2, 0, 1)
    ]
    source = open_source("csv:" + write(tmp_path / "l.csv", "\n".join(rows)))
    assert source.channel_names == ["x", "y"]
    assert everything(source)[0].tolist() == [[0, 2, 4], [0, -1, -2]]
    assert source.labels.tolist() == [1, 0, 0]
    assert source.groups.tolist() == [0, 0, 1]


def test_csv_long_with_one_value_a_row(tmp_path: Path) -> None:
    rows = ["dim,who,when,reading"]
    rows += [
        f"{d},{w},{t},{10 * w + t + 100 * (d == 'b')}"
        for t in range(3)
        for d in "ab"
        for w in (1, 2)
    ]
    path = write(tmp_path / "v.csv", "\n".join(rows))
    source = open_source(f"csv:{path}#id=who,time=when,channel=dim,value=reading")
    assert source.channel_names == ["a", "b"]
    assert everything(source).tolist() == [
        [[10, 11, 12], [110, 111, 112]],
        [[20, 21, 22], [120, 121, 122]],
    ]


def test_csv_recording(tmp_path: Path) -> None:
    rows = ["time,x,label"] + [f"{t / 10},{t},{t // 5}" for t in range(10)]
    path = write(tmp_path / "r.csv", "\n".join(rows))
    source = open_source(f"csv:{path}#layout=recording,window=4")
    assert source.labels.tolist() == [0, 1]
    assert everything(source)[1, 0].tolist() == [4, 5, 6, 7]


def recorded(step: Any, rows: int = 20) -> str:
    return "\n".join(["time,x", *(f"{step(i)},{i}" for i in range(rows))])


def test_the_times_of_a_table_and_its_rate(tmp_path: Path) -> None:
    def opened(step: Any, options: str) -> SeriesSource:
        path = write(tmp_path / "r.csv", recorded(step))
        return open_source(f"csv:{path}#layout=recording,{options}")

    def date(i: int) -> str:
        return f"2024-01-01T00:00:{i * 0.05:06.3f}"

    assert (opened(date, "window=0.2s").rate, opened(date, "window=4,rate=20").rate) == (20, 20)
    with pytest.raises(DataError, match="sampled at 20 Hz, not at the expected 30 Hz"):
        opened(date, "window=4,rate=30")
    for unit in (1, 1000, 10**6, 20):  # seconds, milliseconds, microseconds, sample numbers
        assert opened(lambda i: i * unit / 20, "window=4,rate=20").rate == 20  # noqa: B023
    assert opened(lambda i: i, "window=4").rate is None
    with pytest.raises(DataError, match=r"steps of 0\.05, which is 20 Hz if they are seconds"):
        opened(lambda i: i / 20, "window=4,rate=30")


@pytest.mark.parametrize(
    ("text", "fragment", "message"),
    [
        (recorded(lambda i: i), "", "a row is not a series: write layout=recording"),
        ("a\n1\n2\n", "", "a row has 1 values, .* times, write layout=recording"),
        ("a,b,c\n1,2,3\n", "window=4", "a row has 3 values, but a series at least 4"),
        ("id,time,x\na,0,1\na,1,2\nb,0,1\nb,2,3\n", "", "different sampling rates"),
        ("a,b\n", "", "no rows"),
        ("a,b\n1,x\n", "", "column 'b' holds string, not numbers"),
        ("a,a\n1,2\n", "", "several columns of one name"),
        ("a,b\n1,2\n", "layout=wid", "Did you mean 'wide'"),
        ("a,b\n1,2\n", "layout=long", "id=COLUMN"),
        ("a,b\n1,2\n", "layout=recording", "give window="),
        ("a,b\n1,2\n", "label=c", "has no column 'c'"),
        ("a,b\n1,2\n", "id=a,channel=b", "go together"),
        ("id,time,x\n1,0,1\n1,1,2\n1,3,0\n", "", "not evenly spaced"),
        ("id,time,x\n1,0,1\n1,0,2\n1,0,0\n", "", "not evenly spaced"),
        ("id,x,label\n1,0,0\n1,1,1\n", "", "2 different values in the column of its label"),
        ("id,x,label\n1,0,0.5\n1,1,0.5\n", "", "must be integers or texts"),
        ("id,x\n1,0\n,1\n", "", "has no id"),
        ("id,c,v\n1,a,0\n1,a,1\n1,b,1\n", "channel=c,value=v", "different numbers of values"),
        ("id,x\n1,0\n1,1\n2,1\n", "", "1 to 2 samples"),
    ],
)
def test_csv_refused(tmp_path: Path, text: str, fragment: str, message: str) -> None:
    path = write(tmp_path / "x.csv", text)
    with pytest.raises(DataError, match=message):
        open_source(f"csv:{path}" + (f"#{fragment}" if fragment else ""))


def test_csv_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"csv:{tmp_path / 'no.csv'}")
    with pytest.raises(DataError, match="needs a file"):
        open_source("csv")


# -- npz


def test_npz_series_by_content_and_by_name(tmp_path: Path) -> None:
    x = RNG.normal(size=(5, 7))
    path = tmp_path / "x.npz"
    np.savez(path, series=x, labels=np.arange(5), rate=50.0, subject=np.array([0, 0, 1, 1, 2]))
    source = open_source(f"npz:{path}")
    assert isinstance(source, SeriesSource)
    assert spec_modality(f"npz:{path}") == "series"
    assert (source.shape, source.rate) == ((1, 7), 50.0)
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    assert source.groups.tolist() == [0, 0, 1, 1, 2]
    np.savez(path, ppg=x[:, None], who=np.arange(5))
    named = open_source(f"npz:{path}#series=ppg,group=who")
    np.testing.assert_allclose(everything(named)[:, 0], x.astype(np.float32))
    assert named.labels is None


def test_npz_images_stay_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8))
    assert spec_modality(f"npz:{tmp_path / 'x.npz'}") == "image"
    assert open_source(f"npz:{tmp_path / 'x.npz'}").modality == "image"


@pytest.mark.parametrize(
    ("arrays", "fragment", "message"),
    [
        ({"series": np.zeros(4)}, "", "are not numbers"),
        ({"series": np.zeros((2, 3)) + np.nan}, "", "missing"),
        ({"series": np.eye(3), "labels": np.zeros(2, int)}, "", "labels must be 3 integers"),
        ({"serie": np.eye(3)}, "#series=series", "Did you mean 'serie'"),
        ({"series": np.eye(3)}, "#label=y", "has no array 'y'"),
        ({"series": np.eye(3), "rate": 10.0}, "#rate=20", "sampled at 10 Hz"),
    ],
)
def test_npz_refused(tmp_path: Path, arrays: dict, fragment: str, message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_source(f"npz:{tmp_path / 'x.npz'}{fragment}")


def test_npz_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", series=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="Python objects are refused"):
        open_source(f"npz:{tmp_path / 'x.npz'}#series=series")


# -- ppg-ieee


def test_ppg_ieee(test_data: Path) -> None:
    source = open_source(f"ppg-ieee:{test_data / 'ppg-ieee' / 'IEEE_Small.mat'}")
    assert (len(source), source.shape, source.rate) == (1768, (1, 200), 25.0)
    assert len(np.unique(source.groups)) == 12
    # the stored value is bpm - 30, the class one less
    assert source.class_names[int(source.labels[0])] == f"{source.labels[0] + 31} bpm"
    train, test = source.split("train"), source.split("test")
    assert not set(train.groups) & set(test.groups)


def test_ppg_ieee_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a file"):
        open_source("ppg-ieee")
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"ppg-ieee:{tmp_path / 'no.mat'}")
    path = write(tmp_path / "x.mat", "no matlab file at all" * 20)
    with pytest.raises(DataError, match="is not IEEE_Small"):
        open_source(f"ppg-ieee:{path}")
