"""Sweeps of tiny runs."""

from __future__ import annotations

import functools

import pytest

import tacit

TINY = {
    "steps": 4,
    "batch_size": 32,
    "image_size": 16,
    "monitor_every": 2,
    "monitor": {"samples": 32},
    "checkpoint_every": 0.01,
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """tiny(vary=..., trials=...) -> SweepResult of short SimCLR runs on digits in ./sweep"""
    monkeypatch.chdir(tmp_path)
    options = TINY | {"out": "sweep", "report": False, "progress": False, "heartbeat": 1}
    return functools.partial(tacit.sweep, "simclr", "digits", **options)


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """The same, where a run is not trained but has the RankMe 100 lr."""
    from tacit.sweeps import objective
    from tacit.training.folder import RunFolder

    def train(recipe, data, path, watch, *, progress):
        folder = RunFolder.create(path, recipe.method, recipe.data)
        folder.recipe_path.write_text(recipe.to_yaml())
        value = 100 * recipe.optimizer.lr
        folder.set_status("finished", rankme=value, loss=1.0, step=4, seconds=1.0, width=64)
        return folder.status()

    monkeypatch.setattr(objective, "train", train)
    monkeypatch.chdir(tmp_path)
    options = TINY | {"out": "sweep", "report": False, "progress": False, "heartbeat": 1}
    return functools.partial(tacit.sweep, "simclr", "digits", **options)
