"""Watching a run from outside: every look is told, and a run can be stopped at one."""

from __future__ import annotations

import pytest

import tacit
from tacit.api import open_training
from tacit.errors import ConfigError
from tacit.options import build_recipe
from tacit.registry import METHODS
from tacit.training.fit import fit
from tacit.training.folder import RunFolder

TINY = {
    "batch_size": 32,
    "image_size": 16,
    "monitor_every": 2,
    "monitor.samples": 32,
}


def train(path, watch, *, resume=False, **options):
    recipe = build_recipe("simclr", "digits", TINY | {"steps": 8} | options)
    folder = RunFolder.open(path) if resume else RunFolder.create(path, "simclr", "digits")
    recipe = folder.recipe if resume else recipe
    source = open_training("digits", recipe, progress=False)
    cls = METHODS.get("simclr")
    return fit(recipe, folder, cls, source, resume=resume, progress=False, watch=watch)


def test_every_look_is_told(tmp_path):
    looks = []
    assert train(tmp_path / "run", lambda look: bool(looks.append(look))) == "finished"
    assert [look.fraction for look in looks] == [0, 0.25, 0.5, 0.75, 1]
    run = tacit.load(tmp_path / "run")
    assert looks[-1].values["rankme"] == run.status["rankme"]
    assert run.metrics["rankme"] == pytest.approx([look.values["rankme"] for look in looks[1:]])


def test_a_stopped_run_is_kept_marked_and_can_be_continued(tmp_path):
    assert train(tmp_path / "run", lambda look: look.fraction >= 0.5) == "pruned"
    run = tacit.load(tmp_path / "run")
    assert (run.status["state"], run.status["step"]) == ("pruned", 4)
    assert run.encoder.dim > 0
    assert "Pruned after 4 steps" in run.report().read_text()
    assert train(tmp_path / "run", None, resume=True) == "finished"
    assert train(tmp_path / "whole", None) == "finished"
    whole, run = tacit.load(tmp_path / "whole"), tacit.load(tmp_path / "run")
    assert run.metrics["loss"] == whole.metrics["loss"]


def test_further_criteria_are_recorded(tmp_path):
    criteria = {"monitor.criteria": ["nesum", "rankme"]}
    train(tmp_path / "run", None, **criteria)
    run = tacit.load(tmp_path / "run")
    assert run.metrics["nesum"][-1] == pytest.approx(run.status["nesum"])
    assert 1 <= run.status["nesum"] <= 32
    page = run.report().read_text()
    assert "Loss: nesum" not in page
    assert "nesum" in page


@pytest.mark.parametrize("name", ["nesun", "lidar"])
def test_an_unknown_criterion_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"monitor\.criteria.*" + name):
        train(tmp_path / "run", None, **{"monitor.criteria": [name]})
