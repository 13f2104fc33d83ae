"""`fmri:`: what is opened, what is refused, and preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.signal

from tacit.data import open_source
from tacit.data.fmri import FMRISource
from tacit.data.fmri_preprocess import preprocess
from tacit.errors import ConfigError, DataError, MissingExtraError


def noise(n: int = 4, regions: int = 5, time: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, regions, time))


def raw(source: FMRISource) -> np.ndarray:
    return source.batch(np.arange(len(source))).numpy()


AS_IS = "detrend=none,zscore=false"


def test_a_batch_is_float32_and_splits_keep_subjects_whole() -> None:
    who = np.repeat([7, 3, 9, 1, 5], 4)
    source = FMRISource("x", noise(20), tr=2, subjects=who, labels=np.arange(20) % 2)
    batch = source.batch([3, 1])
    assert batch.dtype.is_floating_point
    assert batch.shape == (2, 5, 40)
    assert source.shape == (5, 40)
    train, test = source.split("train"), source.split("test")
    assert len(train) + len(test) == 20
    assert len(test) == 4
    assert not set(train.groups) & set(test.groups)
    assert source.subject_names.tolist() == [1, 3, 5, 7, 9]
    assert (source.subject_names[source.groups] == who).all()


def test_same_content_has_the_same_fingerprint() -> None:
    one, two = FMRISource("a", noise()), FMRISource("b", noise())
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != FMRISource("a", noise(seed=1)).fingerprint
    assert one.fingerprint != FMRISource("a", noise(), labels=np.zeros(4, int)).fingerprint


@pytest.mark.parametrize(("detrend", "degree"), [("constant", 0), ("linear", 1), ("quadratic", 2)])
def test_detrending_removes_exactly_the_polynomial(detrend: str, degree: int) -> None:
    x = noise(1)[0] + 5000
    t = np.arange(40.0)
    expected = np.stack([row - np.polyval(np.polyfit(t, row, degree), t) for row in x])
    made = preprocess(x, detrend=detrend, zscore=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(made, expected, atol=1e-9)
    drift = 30 * (t / 40) ** degree - 7
    np.testing.assert_allclose(
        preprocess(x + drift, detrend=detrend, zscore=False),  # type: ignore[arg-type]
        made,
        atol=1e-9,
    )
    if degree < 2:
        kind = "constant" if degree == 0 else "linear"
        np.testing.assert_allclose(made, scipy.signal.detrend(x, type=kind), atol=1e-9)


def test_unit_variance_and_no_change() -> None:
    x = 3 * noise(1)[0] + 100
    made = preprocess(x)
    np.testing.assert_allclose(made.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(made.std(-1, ddof=1), 1)
    np.testing.assert_array_equal(preprocess(x, detrend="none", zscore=False), x)
    np.testing.assert_allclose(preprocess(x, detrend="none"), x / x.std(-1, ddof=1, keepdims=True))
    with pytest.raises(ConfigError, match="Did you mean 'quadratic'"):
        preprocess(x, detrend="quadratc")  # type: ignore[arg-type]


def test_constant_region_nan_and_shape_are_refused() -> None:
    x = noise()
    x[2, 3] = 9164.768
    names = ["a", "b", "c", "Precentral L", "e"]
    with pytest.raises(DataError, match=r"recording 2, region 3 \(Precentral L\) has a constant"):
        FMRISource("x", x, region_names=names)
    x = noise()
    x[1, 4, 7] = np.nan
    with pytest.raises(DataError, match=r"recording 1, region 4 has NaN"):
        FMRISource("x", x)
    with pytest.raises(DataError, match="no recordings"):
        FMRISource("x", [])
    with pytest.raises(DataError, match=r"recording 1 has 4 regions and recording 0 has 5"):
        FMRISource("x", [noise()[0], noise(regions=4)[0]])
    with pytest.raises(DataError, match=r"recording 0 must be numbers \(regions, time\)"):
        FMRISource("x", noise()[0])
    with pytest.raises(DataError, match="at least 10"):
        FMRISource("x", noise(time=9))
    with pytest.raises(DataError, match="3 region names for 5 regions"):
        FMRISource("x", noise(), region_names=["a", "b", "c"])
    with pytest.raises(DataError, match="TR of -1 s"):
        FMRISource("x", noise(), tr=-1)


def test_unequal_lengths_need_a_length() -> None:
    recordings = [noise(1, time=40)[0], noise(1, time=33, seed=1)[0]]
    with pytest.raises(DataError, match=r"recording 1 has 33 time points, expected 40.*length=33"):
        FMRISource("x", recordings)
    assert FMRISource("x", recordings, length=30).shape == (5, 30)
    with pytest.raises(DataError, match="recording 1 has 33"):
        FMRISource("x", recordings, length=35)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return f"fmri:{path}"


def test_npz(tmp_path: Path) -> None:
    x = noise()
    spec = save(
        tmp_path / "x.npz",
        series=x,
        subject=np.array([4, 4, 2, 2]),
        label=np.array(["rest", "task", "rest", "task"]),
        regions=np.array(list("abcde")),
        tr_seconds=np.full(4, 1.3),
    )
    source = open_source(f"{spec}#{AS_IS}")
    np.testing.assert_allclose(raw(source), x, rtol=1e-6)
    assert source.tr == 1.3
    assert source.groups.tolist() == [1, 1, 0, 0]
    assert source.class_names == ["rest", "task"]
    assert source.labels.tolist() == [0, 1, 0, 1]
    assert source.region_names == list("abcde")
    np.testing.assert_allclose(raw(open_source(spec)), preprocess(x), rtol=1e-5, atol=1e-6)
    assert open_source(f"{spec}#length=20").shape == (5, 20)
    assert len(open_source(spec, split="test")) == 2


def test_npz_by_key_and_one_recording(tmp_path: Path) -> None:
    spec = save(tmp_path / "x.npz", first=noise(), second=noise(1)[0])
    assert open_source(f"{spec}#key=first").shape == (5, 40)
    assert len(open_source(f"{spec}#key=second")) == 1
    with pytest.raises(DataError, match="#key=NAME"):
        open_source(spec)
    with pytest.raises(DataError, match="Did you mean 'first'"):
        open_source(f"{spec}#key=frst")


def test_bad_npz(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        open_source(f"fmri:{tmp_path / 'bad.npz'}")
    objects = np.empty(2, object)
    objects[:] = [noise()[0], noise()[0]]
    spec = save(tmp_path / "pickled.npz", series=objects)
    with pytest.raises(DataError, match="Python objects are refused"):
        open_source(spec)
    spec = save(tmp_path / "who.npz", series=noise(), subject=np.arange(3))
    with pytest.raises(DataError, match=r"subject has shape \(3,\) for 4"):
        open_source(spec)
    spec = save(tmp_path / "labels.npz", series=noise(), label=np.arange(3))
    with pytest.raises(DataError, match="for 4 recordings"):
        open_source(spec)
    spec = save(tmp_path / "labels.npz", series=noise(), label=np.full(4, 0.5))
    with pytest.raises(DataError, match="integers or names"):
        open_source(spec)


def test_trs_must_agree(tmp_path: Path) -> None:
    spec = save(tmp_path / "x.npz", series=noise(), tr_seconds=np.array([2.0, 2.0, 0.72, 2.0]))
    with pytest.raises(DataError, match=r"different TRs \(0.72, 2 s\)"):
        open_source(spec)
    spec = save(tmp_path / "x.npz", series=noise(), tr_seconds=1.3)
    with pytest.raises(DataError, match=r"tr=2 was asked for, but the data says 1.3 s"):
        open_source(f"{spec}#tr=2")
    assert open_source(f"{spec}#tr=1.3").tr == 1.3
    spec = save(tmp_path / "x.npz", series=noise())
    assert open_source(spec).tr is None
    assert open_source(f"{spec}#tr=2").tr == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("trr=2", "Did you mean 'tr'"),
        ("tr", "not of the form"),
        ("tr=fast", "tr=fast must be a number of seconds"),
        ("zscore=maybe", "true or false"),
        ("length=3.5", "a whole number"),
    ],
)
def test_bad_options(tmp_path: Path, options: str, message: str) -> None:
    spec = save(tmp_path / "x.npz", series=noise())
    with pytest.raises(DataError, match=message):
        open_source(f"{spec}#{options}")


def test_what_is_not_there_or_unknown(tmp_path: Path) -> None:
    for spec, message in (
        ("fmri", "needs a file"),
        (f"fmri:{tmp_path}/no.npz", "does not exist"),
        (f"fmri:{tmp_path}", "no .csv or .nii"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(spec)
    (tmp_path / "x.txt").write_text("1")
    with pytest.raises(DataError, match=r"not '\.txt'"):
        open_source(f"fmri:{tmp_path / 'x.txt'}")


def write_csv(path: Path, x: np.ndarray, header: str | None = "a,b,c,d,e") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(repr(float(value)) for value in row) for row in x.T]
    path.write_text("\n".join(([header] if header else []) + rows) + "\n")


@pytest.mark.parametrize("header", ["a,b,c,d,e", "1,2,3,4,5", None])
def test_csv_of_one_recording(tmp_path: Path, header: str | None) -> None:
    x = noise(1)[0]
    write_csv(tmp_path / "x.csv", x, header)
    source = open_source(f"fmri:{tmp_path / 'x.csv'}#tr=2,{AS_IS}")
    np.testing.assert_allclose(raw(source)[0], x, rtol=1e-6)
    assert len(source.region_names) == 5
    if header:
        assert source.region_names == header.split(",")


def test_folder_of_csv_with_subjects_and_classes(tmp_path: Path) -> None:
    x = noise()
    write_csv(tmp_path / "patient" / "sub-02_run-1.csv", x[0])
    write_csv(tmp_path / "patient" / "sub-02_run-2.csv", x[1])
    write_csv(tmp_path / "control" / "sub-01.csv", x[2])
    write_csv(tmp_path / "control" / "anna.csv", x[3])
    source = open_source(f"fmri:{tmp_path}#{AS_IS}")
    assert source.class_names == ["control", "patient"]
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.subject_names[source.groups].tolist() == ["anna", "sub-01", "sub-02", "sub-02"]
    np.testing.assert_allclose(raw(source), x[[3, 2, 0, 1]], rtol=1e-6)
    write_csv(tmp_path / "control" / "bea.csv", x[3], "a,b,c,d,f")
    with pytest.raises(DataError, match="one atlas is needed"):
        open_source(f"fmri:{tmp_path}")


def test_folders_of_subjects_are_not_classes(tmp_path: Path) -> None:
    for name in ("sub-1", "sub-2"):
        write_csv(tmp_path / name / f"{name}_rest.csv", noise(1)[0])
    source = open_source(f"fmri:{tmp_path}")
    assert source.labels is None
    assert source.subject_names.tolist() == ["sub-1", "sub-2"]


def long_rows(x: np.ndarray) -> list[str]:
    """Rows (subject, recording, label, region, time, value), two recordings a subject."""
    return [
        f"{'ab'[i // 2]},{i % 2},{'rest' if i % 2 else 'task'},{10 - j},{t},{float(x[i, j, t])!r}"
        for i in range(len(x))
        for j in range(x.shape[1])
        for t in range(x.shape[2])
    ]


def test_long_csv_in_any_order_of_rows(tmp_path: Path) -> None:
    x = noise()
    rows = long_rows(x)
    np.random.default_rng(0).shuffle(rows[100:])
    file = tmp_path / "x.csv"
    file.write_text("\n".join(["subject,recording,label,region,time,value", *rows]))
    source = open_source(f"fmri:{file}#{AS_IS}")
    assert source.region_names == ["6", "7", "8", "9", "10"]
    assert source.subject_names[source.groups].tolist() == ["a", "a", "b", "b"]
    assert [source.class_names[label] for label in source.labels] == ["task", "rest"] * 2
    np.testing.assert_allclose(raw(source), x[:, ::-1], rtol=1e-6)
    file.write_text("\n".join(["subject,recording,label,region,time,value", *rows[:-1]]))
    with pytest.raises(DataError, match="each region needs one value at each time"):
        open_source(f"fmri:{file}")


def test_csv_of_many_recordings_with_a_column_a_region(tmp_path: Path) -> None:
    x = noise(3)
    rows = [
        ",".join([f"s{i}", str(t), *(repr(float(v)) for v in x[i, :, t])])
        for i in range(3)
        for t in range(40)
    ]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(["subject,time,a,b,c,d,e", *rows[::-1]]))
    source = open_source(f"fmri:{file}#{AS_IS}")
    np.testing.assert_allclose(raw(source), x[::-1], rtol=1e-6)
    assert source.region_names == list("abcde")
    assert source.labels is None


def test_bad_csv(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    spec = f"fmri:{file}"
    file.write_text("a,b\n1,2\n1\n")
    with pytest.raises(DataError, match="comma-separated"):
        open_source(spec)
    file.write_text("a,b\n1,x\n2,y\n")
    with pytest.raises(DataError, match="'b' has values that are not numbers"):
        open_source(spec)
    file.write_text("label,b\n1,2\n2,3\n")
    with pytest.raises(DataError, match="needs a column 'subject'"):
        open_source(spec)
    file.write_text("subject\n1\n2\n")
    with pytest.raises(DataError, match="no columns of regions"):
        open_source(spec)
    file.write_text("a,a\n1,2\n2,3\n")
    with pytest.raises(DataError, match="same name"):
        open_source(spec)
    x = noise(1)[0]
    write_csv(file, x)
    file.write_text(file.read_text().replace(repr(float(x[1, 3])), ""))
    with pytest.raises(DataError, match=r"recording 0, region 1 \(b\) has NaN"):
        open_source(spec)


def test_matlab_cells(tmp_path: Path) -> None:
    x = noise(6)
    cells = np.empty((3, 2), object)
    for i in range(6):
        cells[i // 2, i % 2] = x[i]
    scipy.io.savemat(tmp_path / "x.mat", {"tc": cells})
    source = open_source(f"fmri:{tmp_path / 'x.mat'}#tr=2,{AS_IS}")
    np.testing.assert_allclose(raw(source), x, rtol=1e-6)
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.labels.tolist() == [0, 1] * 3
    assert source.class_names == ["condition 1", "condition 2"]
    scipy.io.savemat(tmp_path / "y.mat", {"a": x, "b": x[0]})
    assert len(open_source(f"fmri:{tmp_path / 'y.mat'}#key=a")) == 6
    (tmp_path / "z.mat").write_bytes(b"MATLAB")
    with pytest.raises(DataError, match="cannot be read as a MATLAB file"):
        open_source(f"fmri:{tmp_path / 'z.mat'}")


def nifti(path: Path, values: np.ndarray, tr: float | None = None, affine: Any = None) -> Path:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if tr is not None:
        image.header.set_zooms((1, 1, 1, tr))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def voxels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A small brain (4, 3, 2, 30) and an atlas of labels 2, 5 and 9 (0 outside)."""
    rng = np.random.default_rng(seed)
    atlas = rng.choice([0, 2, 5, 9], size=(4, 3, 2)).astype(np.int16)
    return rng.normal(size=(4, 3, 2, 30)).astype(np.float32) + 100, atlas


def test_nifti_and_atlas_labels(tmp_path: Path) -> None:
    brain, atlas = voxels()
    image = nifti(tmp_path / "sub-3_bold.nii.gz", brain, tr=0.72)
    labels = nifti(tmp_path / "atlas.nii", atlas)
    source = open_source(f"fmri:{image}#atlas={labels},{AS_IS}")
    expected = np.stack([brain[atlas == label].mean(0) for label in (2, 5, 9)])
    np.testing.assert_allclose(raw(source)[0], expected, rtol=1e-6)
    assert source.tr == pytest.approx(0.72)
    assert source.region_names == ["label 2", "label 5", "label 9"]
    assert source.subject_names.tolist() == ["sub-3"]


def test_folder_of_nifti(tmp_path: Path) -> None:
    brain, atlas = voxels()
    labels = nifti(tmp_path / "atlas.nii", atlas)
    nifti(tmp_path / "sub-1.nii", brain, tr=2)
    nifti(tmp_path / "sub-2.nii", brain * 2 + 5, tr=2)
    source = open_source(f"fmri:{tmp_path}#atlas={labels}")
    assert source.subject_names.tolist() == ["sub-1", "sub-2"]
    np.testing.assert_allclose(raw(source)[0], raw(source)[1], atol=2e-3)
    nifti(tmp_path / "sub-3.nii", brain, tr=3)
    with pytest.raises(DataError, match=r"different TRs \(2, 3 s\)"):
        open_source(f"fmri:{tmp_path}#atlas={labels}")


def test_bad_nifti(tmp_path: Path) -> None:
    brain, atlas = voxels()
    image = nifti(tmp_path / "x.nii", brain)
    labels = nifti(tmp_path / "atlas.nii", atlas)
    with pytest.raises(DataError, match="#atlas=LABELS"):
        open_source(f"fmri:{image}")
    with pytest.raises(DataError, match="does not exist"):
        open_source(f"fmri:{image}#atlas={tmp_path}/no.nii")
    with pytest.raises(ConfigError, match="atlas= is for"):
        open_source(f"{save(tmp_path / 'x.npz', series=noise())}#atlas={labels}")
    other = nifti(tmp_path / "moved.nii", atlas, affine=2 * np.eye(4))
    with pytest.raises(DataError, match="lie elsewhere; resample one of them"):
        open_source(f"fmri:{image}#atlas={other}")
    flat = nifti(tmp_path / "flat.nii", brain[..., 0])
    with pytest.raises(DataError, match=r"not \(x, y, z, time\)"):
        open_source(f"fmri:{flat}#atlas={labels}")
    with pytest.raises(DataError, match="whole numbers"):
        open_source(f"fmri:{image}#atlas={nifti(tmp_path / 'half.nii', atlas + 0.5)}")
    with pytest.raises(DataError, match="no label above 0"):
        open_source(f"fmri:{image}#atlas={nifti(tmp_path / 'empty.nii', atlas * 0)}")
    (tmp_path / "broken.nii").write_bytes(b"x" * 400)
    with pytest.raises(DataError, match="cannot be read as a NIfTI image"):
        open_source(f"fmri:{tmp_path / 'broken.nii'}#atlas={labels}")


def test_nifti_without_nibabel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "x.nii").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"tacit\[medical\]"):
        open_source(f"fmri:{tmp_path / 'x.nii'}#atlas={tmp_path / 'x.nii'}")


def test_real_recordings(test_data: Path) -> None:
    folder = test_data / "fmri-leida"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    music = open_source(f"fmri:{folder / 'music_aal90.npz'}")
    assert (len(music), music.shape, music.tr) == (17, (90, 464), pytest.approx(1.3))
    assert len(set(music.groups)) == 17
    bold = open_source(f"fmri:{folder / 'example_BOLD.mat'}#tr=2")
    assert (len(bold), bold.shape) == (18, (90, 100))
    assert np.bincount(bold.labels).tolist() == [9, 9]
    assert len(set(bold.groups)) == 9
