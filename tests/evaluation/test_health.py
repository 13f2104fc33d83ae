"""The collapse alarm on recorded runs, healthy and broken on purpose: it must tell them apart.

Each trace is (width, RankMe, spread relative to uniform embeddings) of the projector's output on
held-out samples every 15 or 20 steps, measured on small runs on digits and CIFAR-10.
"""

from __future__ import annotations

import math

import pytest
import torch

from tacit.evaluation import CollapseAlarm, Health, diagnose, online_criteria

HEALTHY = {
    "simclr, digits": (
        64,
        [10.5, 27.9, 24.7, 23.1, 22.2, 20.8, 20.8, 20.4, 19.6, 19.4],
        [0.15, 0.92, 0.93, 0.95, 0.95, 0.95, 0.96, 0.97, 0.96, 0.97],
    ),
    "simclr, temperature 1, width 128": (
        128,
        [15.2, 37.4, 29.4, 26.0, 25.1, 23.3, 22.9, 22.3, 21.2, 21.1],
        [0.17, 0.9, 0.93, 0.94, 0.95, 0.95, 0.96, 0.96, 0.96, 0.97],
    ),
    "simclr, no batch norm": (
        128,
        [15.2, 23.2, 24.1, 24.5, 23.6, 23.0, 23.8, 23.2, 22.6, 22.0],
        [0.17, 0.88, 0.93, 0.95, 0.95, 0.94, 0.95, 0.96, 0.97, 0.96],
    ),
    "vicreg, digits": (
        64,
        [10.5, 26.8, 23.8, 20.4, 18.9, 17.9, 17.2, 17.2, 16.6, 16.7],
        [0.15, 0.81, 0.84, 0.82, 0.83, 0.82, 0.82, 0.83, 0.84, 0.84],
    ),
    "byol with predictor, digits": (
        64,
        [10.5, 27.0, 22.3, 19.4, 18.1, 17.3, 17.0, 16.6, 16.8, 16.8],
        [0.15, 0.40, 0.35, 0.33, 0.34, 0.36, 0.39, 0.41, 0.43, 0.45],
    ),
    "byol with linear predictor, cifar": (
        64,
        [11.2, 12.8, 11.4, 11.8, 12.5, 13.1, 13.3, 13.8, 13.8, 13.7, 13.8, 13.9, 13.9, 13.6],
        [0.15, 0.29, 0.34, 0.37, 0.39, 0.39, 0.39, 0.39, 0.39, 0.39, 0.38, 0.38, 0.38, 0.38],
    ),
    "slow start of a deep network": (
        128,
        [1.6, 1.9, 2.4, 3.1, 4.0, 5.2, 7.0, 9.5, 13.0, 18.0, 22.0, 24.0, 25.0, 25.1],
        [0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6],
    ),
    # linear probe 82.3 % (untrained 76.4 %), kNN 79.8 % (68.6 %)
    "graphmae on cora": (
        512,
        [288.3, 116.8, 102.9, 98.6, 85.2, 77.2, 73.8, 71.9, 70.2, 69.5, 69.0, 68.7, 68.7],
        [0.7, 0.23, 0.29, 0.49, 0.53, 0.54, 0.54, 0.55, 0.54, 0.54, 0.54, 0.54, 0.54],
    ),
    "wide projector": (2048, [30.0, 90.0, 85.0, 82.0, 80.0, 80.0, 79.0], [0.2] + [0.8] * 6),
}
DIMENSIONAL = {
    "byol without predictor, cifar": (
        64,
        [11.2, 16.4, 16.1, 16.4, 16.0, 15.7, 14.9, 14.5, 13.9, 13.6, 13.1, 12.7, 12.4, 12.0, 11.6],
        [0.15, 0.36, 0.38, 0.37, 0.36, 0.35, 0.33, 0.32, 0.32, 0.31, 0.3, 0.29, 0.28, 0.28, 0.27],
    ),
    "byol without predictor, digits": (
        64,
        [10.5, 25.1, 21.2, 18.2, 16.2, 15.1, 14.1, 13.3, 12.5, 11.8],
        [0.15, 0.38, 0.34, 0.32, 0.30, 0.30, 0.29, 0.29, 0.28, 0.27],
    ),
    "byol without predictor, fast target": (
        64,
        [10.5, 11.9, 8.2, 6.4, 5.5, 4.8, 4.4, 4.0, 3.7, 3.4],
        [0.15, 0.22, 0.16, 0.13, 0.10, 0.09, 0.08, 0.07, 0.06, 0.055],
    ),
    "vicreg without covariance term": (
        64,
        [10.5, 19.1, 12.5, 10.2, 9.4, 8.1, 8.1, 8.0, 7.6, 7.4, 7.3],
        [0.15, 0.83, 0.89, 0.9, 0.93, 0.92, 0.94, 0.95, 0.93, 0.93, 0.93],
    ),
    "low from the start": (128, [4.0] * 9, [0.5] * 9),
    "wide projector that plunges": (2048, [40.0, 400.0, 300, 150, 80, 70, 60], [0.9] * 7),
}
COMPLETE = {
    "byol without batch norm": (
        64,
        [10.5, 1.6, 1.3, 1.2, 1.2, 1.2, 1.1],
        [0.15, 0.01, 0.01, 0.0, 0.0, 0.0, 0.0],
    ),
    "byol without predictor and batch norm": (
        64,
        [10.5, 3.5, 2.9, 2.7, 2.6, 2.5, 2.4, 2.2, 2.2, 2.1],
        [0.15, 0.05, 0.05, 0.04, 0.04, 0.04, 0.04, 0.03, 0.03, 0.03],
    ),
    "constant from the start": (64, [1.0] * 6, [0.0] * 6),
}


def follow(trace: tuple[int, list[float], list[float]], alarm: CollapseAlarm) -> list[Health]:
    width, ranks, spreads = trace
    return [
        alarm.update(
            10 * i, {"rankme": rank, "feature_std": spread / math.sqrt(width), "width": width}
        )
        for i, (rank, spread) in enumerate(zip(ranks, spreads))
    ]


@pytest.mark.parametrize("name", HEALTHY)
def test_silent_on_healthy_runs(name: str) -> None:
    states = [h.state for h in follow(HEALTHY[name], CollapseAlarm())]
    assert states[:3] == ["warming up"] * 3
    assert set(states[3:]) <= {"healthy", "warming up"}
    assert states[-1] == "healthy"


@pytest.mark.parametrize("name", DIMENSIONAL)
def test_rings_on_dimensional_collapse(name: str) -> None:
    health = follow(DIMENSIONAL[name], CollapseAlarm())[-1]
    assert health.state == "dimensional collapse"
    assert health.collapsed
    assert f"since step {health.since_step}" in health.message
    assert "What usually helps" in health.message


@pytest.mark.parametrize("name", COMPLETE)
def test_rings_on_complete_collapse(name: str) -> None:
    healths = follow(COMPLETE[name], CollapseAlarm())
    assert healths[-1].state == "complete collapse"
    assert healths[2].state == "warming up"
    assert "same output" in healths[-1].message


# RankMe, spread and total variance every 10 or 20 steps, digits.
WITHOUT_VARIANCE_TERM = (
    2048,
    [5.1, 31.1, 62.3, 68.1, 61.7, 54.6, 49.0, 45.8, 45.0, 44.4, 43.6],
    [0.04, 0.15, 0.34, 0.37, 0.33, 0.29, 0.26, 0.23, 0.22, 0.21, 0.20],
    [0.05, 1.13, 3.56, 2.83, 1.27, 0.59, 0.32, 0.20, 0.147, 0.110, 0.088],
)
WITH_VARIANCE_TERM = (
    256,
    [30.0, 80.6, 66.6, 55.7, 51.1, 47.3, 47.5, 47.3],
    [0.3, 0.72, 0.78, 0.81, 0.83, 0.83, 0.84, 0.84],
    [3.0, 11.0, 22.2, 24.4, 28.3, 30.9, 30.2, 30.4],
)


@pytest.mark.parametrize("part", ["all", "rank", "spread", "variance"])
def test_rings_where_rank_spread_and_variance_fall_together(part: str) -> None:
    """VICReg without its variance term: kNN on its features is below an untrained network's."""
    width, *fading = WITHOUT_VARIANCE_TERM
    names = ("rank", "spread", "variance")
    if part != "all":  # two of the three alone are no alarm: a wide projector may keep such a rank
        fading[names.index(part)] = sorted(fading[names.index(part)])
    assert _last(width, *fading).collapsed == (part == "all")


def test_silent_where_training_falls_from_an_untrained_network() -> None:
    assert (
        _last(512, [288.0] + [70.0] * 8, [0.9] + [0.5] * 8, [100.0] + [5.0] * 8).state == "healthy"
    )


def test_silent_with_the_variance_term() -> None:
    assert _last(*WITH_VARIANCE_TERM).state == "healthy"


def _last(width: int, ranks: list[float], spreads: list[float], variances: list[float]) -> Health:
    looks = [
        {"step": i, "rankme": r, "feature_std": s / math.sqrt(width), "total_variance": v}
        for i, (r, s, v) in enumerate(zip(ranks, spreads, variances))
    ]
    return diagnose([{**look, "width": width} for look in looks])


def test_since_is_the_first_bad_look() -> None:
    trace = (64, [20.0] * 6 + [1.1] * 4, [0.9] * 6 + [0.0] * 4)
    healths = follow(trace, CollapseAlarm())
    assert [h.collapsed for h in healths] == [False] * 7 + [True] * 3
    assert healths[-1].since_step == 60


def test_embeddings_that_shrink_to_a_point_ring_whatever_their_directions() -> None:
    g = torch.Generator().manual_seed(0)
    z, alarm, factor = torch.randn(256, 32, generator=g), CollapseAlarm(), 1.0
    states = []
    for step in range(12):
        states.append(alarm.update(step, online_criteria(factor * z)).state)
        factor *= 0.1 if step > 3 else 1.0
    # the standard deviation is below a thousandth of its peak from step 8 on, and 9 agrees
    assert [state == "complete collapse" for state in states] == [False] * 9 + [True] * 3
    still = CollapseAlarm()
    assert all(not still.update(i, online_criteria(1e-4 * z)).collapsed for i in range(8))


def test_one_bad_look_does_not_ring() -> None:
    trace = (64, [20.0] * 5 + [1.1] + [20.0] * 3, [0.9] * 5 + [0.0] + [0.9] * 3)
    assert not any(h.collapsed for h in follow(trace, CollapseAlarm()))


def test_recovery_clears_the_alarm() -> None:
    ranks = [20.0] * 4 + [1.1] * 4 + [5.0, 12.0, 18.0, 20.0, 20.0]
    spreads = [0.9] * 4 + [0.0] * 4 + [0.4, 0.8, 0.9, 0.9, 0.9]
    states = [h.state for h in follow((64, ranks, spreads), CollapseAlarm())]
    assert "complete collapse" in states
    assert states[-1] == "healthy"


def test_loss_at_its_lowest_is_mentioned() -> None:
    alarm = CollapseAlarm(warmup=0, patience=1)
    look = {"rankme": 1.0, "feature_std": 0.0, "width": 64}
    assert "at its lowest" in alarm.update(0, {**look, "loss": -3.9}).message
    assert "at its lowest" not in alarm.update(1, {**look, "loss": -3.0}).message


def test_state_dict_continues_exactly() -> None:
    trace = DIMENSIONAL["byol without predictor, digits"]
    whole = follow(trace, CollapseAlarm())
    first, second = CollapseAlarm(), CollapseAlarm()
    width, ranks, spreads = trace
    follow((width, ranks[:5], spreads[:5]), first)
    second.load_state_dict(first.state_dict())
    rest = [
        second.update(10 * i, {"rankme": r, "feature_std": s / math.sqrt(width), "width": width})
        for i, (r, s) in list(enumerate(zip(ranks, spreads)))[5:]
    ]
    assert rest == whole[5:]


def test_diagnose_embeddings_and_history() -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(512, 64, generator=g)
    assert diagnose(z).state == "healthy"
    assert diagnose(torch.zeros(512, 64)).state == "complete collapse"
    assert diagnose(z[:, :2] @ torch.randn(2, 64, generator=g)).state == "dimensional collapse"
    history = [{"step": i, **online_criteria(z)} for i in range(4)]
    assert diagnose(history).state == "healthy"
    history += [{"step": 4 + i, **online_criteria(torch.ones(9, 64))} for i in range(2)]
    health = diagnose(history)
    assert (health.state, health.since_step) == ("complete collapse", 4)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="'width'"):
        CollapseAlarm().update(0, {"rankme": 3.0, "feature_std": 0.1})
    with pytest.raises(ValueError, match="no look"):
        diagnose([])
    with pytest.raises(ValueError, match="patience"):
        CollapseAlarm(patience=0)
