"""`tacit.sweep`: what is refused before training, how a sweep goes on, what it chooses."""

from __future__ import annotations

import errno
import functools
from pathlib import Path

import pytest

import tacit
from tacit.errors import ConfigError, TacitError
from tacit.recipe import Recipe
from tacit.sweeps import objective
from tacit.training.folder import RunFolder

pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vary": {"lrr": "1:2"}}, "no option 'lrr'.*Did you mean 'lr'"),
        (
            {"vary": {"optimizer.learning_rate": "1:2"}},
            "learning_rate: there is no field",
        ),
        ({"vary": {"temperature": "-1:1"}}, r"With temperature=-1.*greater than 0"),
        ({"vary": {"schedule.warmup": "0:2"}}, r"With schedule.warmup=2.0: .*less than 1"),
        ({"vary": {"batch_size": "32,4096"}}, "With batch_size=4096: .*at most 1765"),
        ({"vary": {"encoder": "small,resnt18"}}, "With encoder=resnt18: .*Did you mean 'resnet18'"),
        ({"vary": {"views": "simclr,byoll"}}, "With views=byoll: .*Did you mean 'byol'"),
        ({"vary": {"views.arae": "0.1,0.2"}}, "With views.arae=0.1: .*Did you mean 'area'"),
        ({"vary": {"method": "simclr,vicregg"}}, "Did you mean 'vicreg'"),
        (
            {"vary": {"method": "simclr,vicreg", "temperature": "0.1,0.2"}},
            "With method=vicreg, temperature=0.1: .*no option 'temperature'",
        ),
        ({"vary": {"method": "byol,vicreg"}}, r"The method is given \(simclr\) and varied"),
        ({"vary": {"data": "digits,photos"}}, "--vary data"),
        ({"vary": {"devices": "1,2"}}, "--vary devices"),
        ({"vary": {"lr": "1,2"}, "devices": 2}, "devices: a trial runs on one device"),
        ({"vary": {"lr": "1,2"}, "lr": 0.1}, "'lr' is both set and varied"),
        ({"vary": {"lr": "1,2"}, "objective": "rankm"}, "Did you mean 'rankme'"),
        ({"vary": {"lr": "1,2"}, "objective": "lidar"}, "lidar needs several augmentations"),
        ({"vary": {"lr": "1,2"}, "sampler": "tpee"}, "Did you mean 'tpe'"),
        ({"vary": {"lr": "1:2"}, "sampler": "grid"}, "lr=1:2 has infinitely many"),
        ({"vary": {"lr": "1,2"}, "engine": "rai"}, "Did you mean 'ray'"),
        ({"vary": {"lr": "1,2"}, "address": "auto"}, "--engine ray"),
        ({"vary": {"lr": "1,2"}, "trials": 0}, "trials must be at least 1"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(untrained, changes, message):
    if "batch_size" in changes["vary"]:  # the fixture sets one
        untrained.keywords.pop("batch_size")
    call = untrained
    if "method" in changes["vary"] and "The method" not in message:
        call = functools.partial(tacit.sweep, None, "digits", **untrained.keywords)
    with pytest.raises(TacitError, match=rf"(?s){message}"):
        call(**changes)
    assert not Path("sweep").exists()


def test_a_sweep_goes_on_and_grows(untrained, monkeypatch):
    honest, calls = objective.train, []

    def interrupted(*given, **options):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*given, **options)

    monkeypatch.setattr(objective, "train", interrupted)
    vary = {"lr": "0.001:1:log", "temperature": "0.1,0.2"}
    first = untrained(vary=vary, trials=4)
    assert not first.finished
    assert [row.state for row in first.trials] == ["finished", "finished", "waiting"]
    second = untrained(vary=vary, trials=4)
    assert second.finished
    assert [row.state for row in second.trials] == ["finished"] * 4
    assert [row.values for row in second.trials[:3]] == [row.values for row in first.trials]
    third = untrained(vary=vary, trials=6)
    assert [row.values for row in third.trials[:4]] == [row.values for row in second.trials]
    assert len({row.values["lr"] for row in third.trials}) == 6
    folders = sorted(path.name for path in Path("sweep").glob("trial-*"))
    assert folders == [f"trial-{i:04d}" for i in range(6)]
    assert untrained(vary=vary, trials=6).trials == third.trials
    assert len(calls) == 7  # nothing is trained twice


def test_the_best_trial_is_chosen_and_can_be_repeated(untrained):
    result = untrained(vary={"lr": [0.1, 0.9, 0.3]}, sampler="grid", trials=10)
    assert [row.values["lr"] for row in result.trials] == [0.1, 0.9, 0.3]
    assert [row.values["lr"] for row in result.ranked] == [0.9, 0.3, 0.1]
    assert result.best.name == "trial-0001"
    assert result.best_run.recipe.optimizer.lr == 0.9
    assert Recipe.load(result.path / "best.yaml") == result.best_run.recipe


@pytest.mark.parametrize(("name", "best"), [("alpha_req", 1.1), ("uniformity", 0.2)])
def test_criteria_with_a_target_or_better_low(untrained, monkeypatch, name, best):
    honest = objective.train

    def train(recipe, data, path, watch, *, progress):
        honest(recipe, data, path, watch, progress=progress)
        folder = RunFolder.open(path)
        folder.set_status("finished", **{name: recipe.optimizer.lr})
        return folder.status()

    monkeypatch.setattr(objective, "train", train)
    result = untrained(vary={"lr": [0.2, 1.1, 3.0]}, sampler="grid", objective=name)
    assert result.best.values["lr"] == best
    assert result.ranked[0].best
    assert result.ranked[0].value == best


def test_failures_are_told_and_many_of_them_end_the_sweep(untrained, monkeypatch):
    honest = objective.train

    def train(recipe, *given, **options):
        if recipe.optimizer.lr > 0.15:
            raise TacitError("The loss is nan at step 3.")
        return honest(recipe, *given, **options)

    monkeypatch.setattr(objective, "train", train)
    result = untrained(vary={"lr": [0.2, 0.1, 0.3]}, sampler="grid")
    assert result.finished
    assert [row.state for row in result.trials] == ["failed", "finished", "failed"]
    assert "nan at step 3" in result.trials[0].note
    with pytest.raises(TacitError, match=r"(?s)No trial.*nan at step 3"):
        untrained(vary={"lr": "0.2:1"}, study="bad", out="bad", trials=9)
    assert "failed" in Path("bad/report.html").read_text()


def test_a_full_disk_stops_the_sweep_and_loses_no_trial(untrained, monkeypatch):
    honest = objective.train

    def train(*given, **options):
        raise TacitError("Cannot write.") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(objective, "train", train)
    with pytest.raises(TacitError, match="Cannot write"):
        untrained(vary={"lr": "0.1:1"}, trials=2)
    monkeypatch.setattr(objective, "train", honest)
    assert [row.state for row in untrained(vary={"lr": "0.1:1"}, trials=2).trials] == [
        "finished",
        "finished",
    ]


class FakeTrial:
    """What a watcher sees of a trial; it is to be pruned from the rung `at` on."""

    def __init__(self, at):
        self.at, self.reports, self.attributes = at, {}, {}

    def report(self, value, step):
        assert step not in self.reports
        self.reports[step] = value

    def should_prune(self):
        return max(self.reports) >= self.at

    def set_user_attr(self, name, value):
        self.attributes[name] = value


def looks(n, state="healthy"):
    from tacit.evaluation import Health
    from tacit.training.monitor import Look

    health = Health(state, 1, f"{state} since step 1: few directions; and so on.")
    return [Look(i / n, {"rankme": 10.0 + i}, health) for i in range(n + 1)]


@pytest.mark.parametrize(("n", "rungs"), [(4, [2, 5, 7, 10]), (30, list(range(1, 11))), (1, [10])])
def test_looks_are_reported_at_tenths_of_the_run(tmp_path, n, rungs):
    watcher = objective.Watcher(FakeTrial(at=99), plan(tmp_path), reported=0)
    assert not any(watcher(look) for look in looks(n))
    assert list(watcher.trial.reports) == rungs
    resumed = objective.Watcher(FakeTrial(at=99), plan(tmp_path), reported=5)
    assert not any(resumed(look) for look in looks(n))
    assert list(resumed.trial.reports) == [rung for rung in rungs if rung > 5]


def test_pruned_by_the_median_or_at_once_by_the_alarm(tmp_path):
    watcher = objective.Watcher(FakeTrial(at=5), plan(tmp_path), 0)
    assert [watcher(look) for look in looks(10)[:6]] == [False] * 5 + [True]
    assert "50%" in watcher.trial.attributes["reason"]
    watcher = objective.Watcher(FakeTrial(at=99), plan(tmp_path), 0)
    assert watcher(looks(30, "dimensional collapse")[1])
    assert watcher.trial.attributes["reason"] == (
        "dimensional collapse since step 1: few directions"
    )
    assert not watcher(looks(30, "dimensional collapse")[30])  # it is over anyway
    watcher = objective.Watcher(FakeTrial(at=1), plan(tmp_path, prune=False), 0)
    assert not any(watcher(look) for look in looks(30, "complete collapse"))


def plan(out, **changes):
    from tacit.sweeps.plan import Objective, Plan

    return Plan("simclr", "digits", {}, {}, Objective(), 1, out, "", "study", **changes)


def test_trials_are_runs_and_a_collapse_ends_one(tiny, monkeypatch):
    """Trained for real: the second one breaks down at once."""
    monkeypatch.setattr("tacit.report.sample.SAMPLES", 200)  # t-SNE takes most of the time
    vary = {"lr": [0.005, 0.6]}
    result = tiny(vary=vary, sampler="grid", steps=8, objective="nesum", report=True)
    assert [row.state for row in result.trials] == ["finished", "pruned"]
    assert "collapse" in result.trials[1].note
    good, bad = (tacit.load(row.path) for row in result.trials)
    assert good.status["nesum"] == result.trials[0].value
    assert bad.status["state"] == "pruned"
    assert bad.status["step"] < 8
    assert good.embed("digits").shape[0] == bad.embed("digits").shape[0] == 1797
    page = Path("sweep/report.html").read_text()
    assert 'href="trial-0000/report.html"' in page
    assert Path("sweep/trial-0000/report.html").is_file()


def test_a_trial_that_was_trained_but_not_told_is_not_trained_again(tiny):
    result = tiny(vary={"lr": [0.005, 0.01]}, sampler="grid", trials=1)
    before = (result.best.path / "status.json").read_bytes()
    status = objective.train(
        result.best_run.recipe, "digits", result.best.path, lambda look: False, progress=False
    )
    assert status["rankme"] == result.best.value
    assert (result.best.path / "status.json").read_bytes() == before


def test_a_name_that_is_no_study(untrained):
    import optuna

    Path("sweep").mkdir()
    optuna.create_study(storage="sqlite:///sweep/study.db", study_name="mine").ask()
    with pytest.raises(ConfigError, match="'mine' is not one of tacit's"):
        untrained(vary={"lr": "0.1:1"}, study="mine")


def test_no_combination_is_trained_twice_where_the_trials_cover_all(untrained):
    result = untrained(vary={"lr": "0.2,0.1", "temperature": "0.1,0.5"}, trials=4)
    assert len({tuple(row.values.items()) for row in result.trials}) == 4
    huge = untrained(vary={"seed": "0:1000000000"}, trials=2, study="huge", out="huge")
    assert len(huge.trials) == 2
