from tacit.report.curves import alarm_spans, charts, looks, replay


def test_looks_are_the_rows_with_criteria(make_metrics):
    metrics = make_metrics()
    assert [row["step"] for row in looks(metrics)] == list(range(20, 301, 20))
    assert all(health.state != "dimensional collapse" for health in replay(metrics))
    assert looks({"step": [10.0], "loss": [1.0]}) == []


def test_the_alarm_is_marked_from_the_step_it_blames_to_the_end(make_metrics):
    # The rank is dead from step 180 on; with a patience of two looks the alarm rings at 200.
    (span,) = alarm_spans(make_metrics(rows=31, collapse_at=18))
    assert (span.start, span.end) == (180, 310)
    assert span.label == "dimensional collapse since step 180"
    assert alarm_spans(make_metrics()) == []


def test_a_recovered_collapse_ends_where_the_alarm_went_silent(make_metrics):
    metrics = make_metrics(rows=40)
    for i in range(len(metrics["step"])):
        if metrics["health"][i] and 20 <= i < 30:
            metrics["health"][i] = "complete collapse"
    (span,) = alarm_spans(metrics)
    assert (span.start, span.end) == (220, 300)


def test_every_curve_that_was_measured_is_drawn(make_metrics):
    metrics = make_metrics()
    titles = [chart.title for chart in charts(metrics)]
    assert titles == [
        "Loss", "Loss: part", "Rank", "Feature spread", "Uniformity", "Learning rate"
    ]  # fmt: skip
    rank = charts(metrics)[2]
    assert [name for name, _ in rank.legend] == ["RankMe", "stable rank"]
    assert rank.legend[0][1] == "70"


def test_without_monitor_or_rows():
    assert charts({}) == []
    metrics = {"step": [10.0, 20.0], "loss": [2.0, 1.0], "lr": [0.1, None]}
    assert [chart.title for chart in charts(metrics)] == ["Loss", "Learning rate"]


def test_values_that_are_not_finite_are_left_out():
    metrics = {"step": [10.0, 20.0], "loss": [2.0, float("nan")], "gone": [float("inf"), None]}
    (loss,) = charts(metrics)
    assert loss.legend == [("loss", "2")]
    assert "nan" not in loss.svg
