"""fMRI from the spec to a run folder: choices made from the data, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tacit
from tacit.data.fmri import FMRISource
from tacit.encoders import DynamicFCEncoder, GINEncoder
from tacit.errors import ConfigError, DataError
from tacit.methods.generative.st_mae import STMAE
from tacit.modalities import modality
from tacit.recipe import Recipe

N = 6
WINDOWS = {"encoder.window": 20, "encoder.stride": 10, "encoder.dim": 8, "encoder.layers": 1}


def source(n: int = 12, regions: int = N, tr: float | None = 1.0, per: int = 2) -> FMRISource:
    rng = np.random.default_rng(0)
    series = rng.normal(size=(n, regions, 90)) + rng.normal(size=(n, 1, 90))
    who = np.arange(n) // per
    return FMRISource("noise", series, tr=tr, subjects=who, labels=np.arange(n) % 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tacit.run.Run:
    folder = tmp_path_factory.mktemp("fmri")
    data = source()
    np.savez(
        folder / "x.npz",
        series=data.batch(np.arange(12)).numpy(),
        subject=data.groups,
        label=data.labels,
        tr_seconds=1.0,
    )
    return tacit.pretrain(
        "st-mae",
        f"fmri:{folder / 'x.npz'}",
        out=folder / "run",
        steps=4,
        windows=2,
        progress=False,
        **WINDOWS,
    )


def test_a_run_trains_embeds_and_evaluates(run: tacit.run.Run) -> None:
    assert run.recipe.modality == "fmri"
    assert run.recipe.encoder == "gin"
    assert run.recipe.batch_size == 8
    assert run.input_spec["tr"] == 1.0
    columns = {"loss", "spatial", "temporal", "spatial_nodes", "temporal_edges"}
    assert columns <= set(run.metrics)
    assert isinstance(run.encoder, DynamicFCEncoder)
    vectors = run.embed(source())
    assert vectors.shape == (12, 8)
    rows = run.evaluate(("knn",))
    assert set(rows) == {"encoder", "untrained", "raw"}
    assert run.report().is_file()


def test_other_data_is_refused_by_a_run(run: tacit.run.Run) -> None:
    for other, message in (
        (source(regions=5), "5 regions.*trained on 6"),
        (source(tr=2.0), "TR 2 s.*trained at 1 s"),
        (source(tr=None), "TR unknown.*trained at 1 s"),
    ):
        with pytest.raises(DataError, match=message):
            run.embed(other)


def test_steps_are_passes_over_all_windows() -> None:
    kind, recipe = modality("fmri"), STMAE.default_recipe("fmri")
    encoder = {"window": 20.0, "stride": 10.0}
    made = kind.complete(recipe.changed({"encoder_options": encoder}), source())
    windows = 7  # of 90 points
    assert made["steps"] == -(-50 * 12 * windows // (8 * 8))
    assert made["batch_size"] == 8
    assert made["monitor"]["every"] == made["steps"] // 20
    few = kind.complete(recipe.changed({"epochs": 3, "encoder_options": encoder}), source(4))
    assert "steps" not in few
    assert few["batch_size"] == 4


def test_the_reservoir_is_whole_subjects_or_everyone() -> None:
    kind, recipe = modality("fmri"), Recipe()
    small = source(12)
    training, held = kind.reservoir(small, recipe)
    assert training.tolist() == held.tolist() == list(range(12))
    large = source(400, per=2)
    training, held = kind.reservoir(large, recipe)
    assert len(held) == 40
    assert sorted([*training, *held]) == list(range(400))
    assert not set(large.groups[training]) & set(large.groups[held])


def test_raw_features_are_static_connectivity() -> None:
    data = source()
    made = modality("fmri").raw_features(data, np.array([3, 1]))
    expected = np.corrcoef(data.batch([3]).numpy()[0])[np.triu_indices(N, 1)]
    np.testing.assert_allclose(made[0], expected, atol=1e-5)
    assert made.shape == (2, N * (N - 1) // 2)


def test_networks() -> None:
    kind, spec = modality("fmri"), {"n_rois": N, "tr": 2.0}
    built = kind.build_encoder("gin", spec, {"window": "40", "pool": "regions", "dim": 4})
    assert isinstance(built, DynamicFCEncoder)
    assert (built.window, built.dim) == (20, N * 4)
    assert kind.build_encoder(built, spec, {}) is built
    with pytest.raises(ConfigError, match="Did you mean 'gin'"):
        kind.build_encoder("gni", spec, {})
    with pytest.raises(ConfigError, match="Did you mean 'window'"):
        kind.build_encoder("gin", spec, {"windo": 40})
    for wrong in (torch.nn.Linear(2, 2), GINEncoder(N), DynamicFCEncoder(n_rois=N + 1)):
        with pytest.raises(ConfigError, match=f"with {N} regions needs a DynamicFCEncoder"):
            kind.build_encoder(wrong, spec, {})


def test_views_hand_on_the_recordings() -> None:
    kind, x = modality("fmri"), source().batch([0, 1])
    views = kind.training_views(STMAE.default_recipe(), {})(x, torch.Generator())
    assert [view is x for view in views] == [True]
    assert kind.eval_view({})(x) is x


def test_short_recordings_and_other_data_are_refused(tmp_path: Path) -> None:
    wide = {"encoder.window": 60, "encoder.stride": 4}
    with pytest.raises(DataError, match=r"8 windows are too few.*31 are needed"):
        tacit.pretrain("st-mae", source(), out=tmp_path / "r", steps=1, progress=False, **wide)
    with pytest.raises(DataError, match="too short for windows of 90"):
        tacit.pretrain(
            "st-mae", source(), out=tmp_path / "s", progress=False, **{"encoder.window": 90}
        )
    with pytest.raises(ConfigError, match="st-mae trains on fmri data"):
        tacit.pretrain("st-mae", "digits", out=tmp_path / "t", progress=False)
