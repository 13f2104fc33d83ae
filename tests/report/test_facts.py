import pytest

from tacit.evaluation import CollapseAlarm
from tacit.report.facts import duration, environment, method_facts, outcome, probes, verdict


def collapsed():
    alarm = CollapseAlarm(warmup=0)
    for step in (10, 20, 30):
        health = alarm.update(step, {"rankme": 1.0, "feature_std": 0.0, "width": 64})
    return health


def test_the_verdict_says_which_collapse_since_when_and_what_helps():
    health = collapsed()
    status = {"health": health.state, "health_message": health.message, "step": 30}
    found = verdict(status, {})
    assert found.tone == "bad"
    assert found.title == "Complete collapse since step 10"
    assert found.text.startswith("Nearly every input gets the same output")
    assert found.advice.startswith("Check that the method's protection is on")
    assert "What usually helps" not in found.text


def test_the_verdict_of_a_run_that_was_killed_is_replayed(make_run):
    run = make_run(encoder=False, collapse_at=18, status={"state": "failed", "step": 0})
    found = verdict(run.status, run.metrics)
    assert found.title == "Dimensional collapse since step 180"
    # An earlier session's word does not count once the metrics are ahead of it.
    old = {"health": "healthy", "health_message": "healthy: fine.", "step": 100}
    assert verdict(old, run.metrics).tone == "bad"


def test_healthy_warming_up_and_not_measured(make_run):
    run = make_run(encoder=False)
    assert verdict({}, run.metrics).tone == "good"
    found = verdict({"health": "healthy", "health_message": "healthy: rank 9.", "step": 999}, {})
    assert (found.tone, found.title, found.text) == ("good", "Healthy", "Rank 9.")
    assert verdict({"health": "warming up"}, {}).title == "Too early to judge"
    assert verdict({}, {}).title == "Not measured"


def test_a_recovered_run_is_healthy_but_tells(make_run):
    metrics = make_run(encoder=False, collapse_at=18).metrics
    metrics["health"][-1] = "healthy"
    status = {"health": "healthy", "health_message": "healthy: rank 9.", "step": 300}
    assert "The alarm rang from step 180 to 280" in verdict(status, metrics).text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "Finished: 300 steps in 1 min 0 s."),
        ({"state": "interrupted", "step": 120}, "Interrupted after 300 steps"),
        ({"state": "failed", "error": "TacitError: loss"}, "Failed after 300 steps"),
        ({"state": "running"}, "Killed after 300 steps"),
    ],
)
def test_the_outcome_in_words(make_run, status, words):
    run = make_run(encoder=False, status=status)
    found = outcome(run, run.status, run.metrics)
    assert found.text.startswith(words)
    assert found.command == ""  # there is no checkpoint
    if status:
        run.folder.checkpoint_path.parent.mkdir()
        run.folder.checkpoint_path.touch()
        assert "--resume" in outcome(run, run.status, run.metrics).command


def test_durations():
    assert duration(0.52) == "0.52 s"
    assert duration(59.4) == "59 s"
    assert duration(3600) == "1 h 0 min"


def test_methods_have_their_paper_and_lost_ones_do_no_harm():
    assert method_facts("simclr").paper.url == "https://arxiv.org/abs/2002.05709"
    assert method_facts("gone.package:Lost") == ("", None)


def test_probes():
    assert probes(None) is None
    rows = {"encoder": {"knn": 0.9, "linear top5": 1.0}, "raw": {"knn": 0.24}}
    found = probes({"data": "digits", "train_samples": 1438, "test_samples": 359, "rows": rows})
    assert found.bars == [("kNN accuracy", [("this encoder", 0.9), ("raw features", 0.24)])]
    assert found.columns == ["knn", "linear top5"]
    assert found.table[1] == ("raw features", ["0.24", ""])
    assert found.counts == "1,438 training and 359 test samples"


def test_a_damaged_environment_does_no_harm(make_run):
    run = make_run(encoder=False)
    rows = dict(environment(run))
    assert rows["seed"] == "7"
    assert "torch" in rows
    path = run.path / "environment.json"
    path.write_text('{"versions": 3, "cores": [2]}')
    assert environment(run) == [("cores", "2")]
    for text in ("{", "[]", ""):
        path.write_text(text)
        assert environment(run) == []
