"""The series modality: recipes, encoders by name, reservoirs, and runs from the outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tacit
from tacit.data import SeriesSource
from tacit.encoders.series import SERIES_ENCODERS, TCN, MappedEncoder
from tacit.errors import ConfigError, DataError
from tacit.modalities import modality
from tacit.recipe import Recipe
from tacit.registry import METHODS

SERIES = modality("series")
SPEC = {"in_channels": 1, "length": 400, "rate": 100.0, "mean": [0.0], "std": [1.0]}
TINY = {"out_dim": 8, "hidden": 8, "depth": 1}


def source(n: int = 40, channels: int = 2, times: int = 50, **options) -> SeriesSource:
    values = np.random.default_rng(0).normal(size=(n, channels, times))
    return SeriesSource("noise", values, labels=np.arange(n) % 2, **options)


@pytest.mark.parametrize("name", sorted(SERIES_ENCODERS))
def test_every_encoder_is_built_by_its_name(name: str) -> None:
    encoder = SERIES.build_encoder(name, SPEC, {}).eval()
    assert encoder(torch.randn(2, 1, 400)).shape == (2, encoder.dim)


def test_encoder_names_and_options() -> None:
    mapped = SERIES.build_encoder("mapped:tcn", SPEC, {"hidden": "8", "wavelet": "false"})
    assert isinstance(mapped, MappedEncoder)
    assert mapped.time.stem.out_channels == 8
    assert (mapped.length, mapped.map_wavelet) == (400, None)
    with pytest.raises(ConfigError, match="Did you mean 'resnet1d'"):
        SERIES.build_encoder("resnet1", SPEC, {})
    with pytest.raises(ConfigError, match="Did you mean 'tcn'"):
        SERIES.build_encoder("mapped:tcnn", SPEC, {})
    with pytest.raises(ConfigError, match="Did you mean 'hidden'"):
        SERIES.build_encoder("tcn", SPEC, {"hiden": 8})
    with pytest.raises(ConfigError, match="no option 'wavelets'"):
        SERIES.build_encoder("mapped:tcn", SPEC, {"wavelets": True})


def test_own_modules() -> None:
    own = TCN(1)
    assert SERIES.build_encoder(own, SPEC, {}) is own
    with pytest.raises(ConfigError, match="SeriesEncoder"):
        SERIES.build_encoder(nn.Linear(3, 3), SPEC, {})
    with pytest.raises(ConfigError, match="built for 2 channels"):
        SERIES.build_encoder(TCN(2), SPEC, {})


@pytest.mark.parametrize(
    "name", [n for n in METHODS.names() if {"image", "series"} <= set(METHODS.get(n).modalities)]
)
def test_recipes_for_images_fit_series(name: str) -> None:
    """Every joint-embedding method makes a step on series with its adapted recipe."""
    cls = METHODS.get(name)
    data = source()
    recipe = SERIES.adapt(cls.default_recipe("series")).changed({"modality": "series"})
    recipe = recipe.changed(SERIES.complete(recipe, data))
    assert recipe.batch_size == 40
    spec = SERIES.input_spec(recipe, data)
    n_views = recipe.n_views or cls.n_views
    recipe = recipe.changed({"n_views": n_views})
    torch.manual_seed(0)
    encoder = SERIES.build_encoder("tcn", spec, {**TINY, "out_dim": 16})
    small = {"proj_hidden_dim": 16, "proj_output_dim": 8, "queue_size": 40, "w_size": 16}
    options = {k: v for k, v in small.items() if k in cls.Config.model_fields}
    method = cls(encoder, cls.Config(**{**recipe.options, **options}))
    views = SERIES.training_views(recipe, spec)(
        data.batch(np.arange(40)), torch.Generator().manual_seed(0)
    )
    assert len(views) == n_views
    loss = method.training_loss(tacit.methods.base.Batch(views, torch.arange(40))).total
    loss.backward()
    assert bool(torch.isfinite(loss))


def test_reservoir_holds_out_whole_recordings_of_large_sets() -> None:
    recipe = Recipe(modality="series")
    small = SERIES.reservoir(source(40), recipe)
    assert [len(part) for part in small] == [40, 40]
    groups = np.repeat(np.arange(20), 50)
    large = source(1000, 1, 4, groups=groups)
    training, held = SERIES.reservoir(large, recipe)
    assert (len(training), len(held)) == (900, 100)
    assert not set(groups[training]) & set(groups[held])
    alone, held_alone = SERIES.reservoir(source(1000, 1, 4), recipe)
    assert (len(alone), len(held_alone)) == (900, 100)


def test_data_that_does_not_fit_an_encoder_is_refused() -> None:
    spec = {"in_channels": 2, "length": 50, "rate": 25.0, "mean": [0.0] * 2, "std": [1.0] * 2}
    SERIES.check(source(rate=25), spec, "run")
    SERIES.check(source(), spec, "run")
    with pytest.raises(DataError, match="has 1 channels"):
        SERIES.check(source(channels=1), spec, "run")
    with pytest.raises(DataError, match=r"#length=50 or #window=50"):
        SERIES.check(source(times=60), spec, "run")
    with pytest.raises(DataError, match=r"#resample=25"):
        SERIES.check(source(rate=50), spec, "run")


def test_a_run_from_the_outside(tmp_path: Path) -> None:
    run = tacit.pretrain(
        "simclr",
        "ucr:BasicMotions",
        encoder="tcn",
        out=tmp_path / "run",
        steps=2,
        progress=False,
        encoder_options=TINY,
    )
    loaded = tacit.load(run.path)
    assert loaded.recipe.modality == "series"
    x = loaded.embed("ucr:BasicMotions")
    assert x.shape == (40, 8)
    scores = loaded.evaluate("knn")
    assert scores


def test_views_and_raw_features() -> None:
    data = source()
    spec = SERIES.input_spec(Recipe(modality="series"), data)
    seen = SERIES.eval_view(spec)(data.batch(np.arange(40)))
    torch.testing.assert_close(seen.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((0, 2), correction=0), torch.ones(2))
    assert SERIES.raw_features(data, np.array([3, 1])).shape == (2, 100)
