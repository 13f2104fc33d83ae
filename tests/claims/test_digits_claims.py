"""The claims on digits: they run, their checks say what they should, and the verdict follows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tacit.claims import Check, Claim, Result, markdown, reproduce
from tacit.claims._digits import (
    ADAM,
    MLPEncoder,
    digits_method,
    geometric_views,
    knn_percent,
    load_digits,
)
from tacit.claims._loop import apply, build_method, train
from tacit.claims.base import Rows
from tacit.claims.mix_bt import MECHANISM, OVERFITTING, midpoint_errors
from tacit.claims.mv_dhel import VIEWS, MVDHELClaim
from tacit.claims.rankme import COVARIANCE, SPREAD, SWEEPS, RankMeClaim
from tacit.errors import ConfigError
from tacit.methods.base import Paper
from tacit.registry import CLAIMS

NAMES = ("mix-bt", "mv-dhel", "rankme")
TINY = 0.001  # one to four steps a setting


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Result], Path]:
    out = tmp_path_factory.mktemp("claims")
    return {name: reproduce(name, seeds=1, scale=TINY, out=out) for name in NAMES}, out


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_is_described_and_yields_finite_rows_and_checks(name, tiny):
    result = tiny[0][name]
    claim = CLAIMS.get(name)
    assert claim.paper.url.startswith("https://arxiv.org/abs/")
    assert claim.statement.rstrip(")").endswith(".")
    assert "digits" in claim.protocol
    (rows,) = result.rows
    assert all(math.isfinite(v) for metrics in rows.values() for v in metrics.values())
    (checks,) = result.checks
    assert sum(check.decisive for check in checks) >= 2
    assert all(isinstance(check.holds, bool) for check in checks)
    assert len({check.sentence for check in checks}) == len(checks)


def test_every_setting_of_the_protocols_is_a_row(tiny):
    results = tiny[0]
    assert len(results["mv-dhel"].rows[0]) == 3 * len(VIEWS)
    assert set(results["mix-bt"].rows[0]) == {run.setting for run in MECHANISM + OVERFITTING}
    rankme_rows = results["rankme"].rows[0]
    assert len(rankme_rows) == sum(len(sweep.values) + 1 for sweep in SWEEPS)
    for sweep in SWEEPS:
        best = max(rankme_rows[sweep.setting(value)]["RankMe"] for value in sweep.values)
        assert rankme_rows[sweep.summary]["RankMe"] == pytest.approx(best, rel=1e-3)
        assert rankme_rows[sweep.summary]["regret"] >= 0


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_a_table_and_the_command(name, tiny):
    results, out = tiny
    page = (out / f"{name}.md").read_text()
    assert page == markdown(results[name])
    assert page.startswith(f"# {name}: {results[name].verdict()}")
    for setting in results[name].rows[0]:
        assert f"| {setting} |" in page
    assert f"`tacit reproduce {name} --seeds 1 --scale {TINY}`" in page
    stored = json.loads((out / f"{name}.json").read_text())
    assert stored["seeds"]["0"] == results[name].rows[0]
    assert stored["verdict"] == results[name].verdict()


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    claim = CLAIMS.get("mix-bt")()
    first = claim.run(3, scale=TINY)
    torch.manual_seed(99)  # the global generator must not matter
    assert claim.run(3, scale=TINY) == first
    assert claim.run(4, scale=TINY) != first


class Dummy(Claim):
    """Two decisive checks and one that is information."""

    paper = Paper("T", "A", 2020, "https://example.org")
    statement, protocol = "S.", "P."

    def checks(self, rows: Rows) -> list[Check]:
        system, baseline = rows["system"], rows["baseline"]
        return [
            Check("rank is higher", system["rank"] > baseline["rank"]),
            Check("rank is above 5", system["rank"] > 5),
            Check("accuracy is higher", system["knn"] > baseline["knn"], decisive=False),
        ]


def hand_made(*systems: tuple[float, float]) -> Result:
    """A result with one seed for every (rank, accuracy) of the system."""
    result = Result(Dummy, "dummy", 1.0)
    for seed, (rank, knn) in enumerate(systems):
        rows = {"baseline": {"rank": 4.0, "knn": 90.0}, "system": {"rank": rank, "knn": knn}}
        result.seeds.append(seed)
        result.rows.append(rows)
        result.checks.append(Dummy().checks(rows))
    return result


@pytest.mark.parametrize(
    ("systems", "verdict"),
    [
        ([(6, 91), (7, 91), (8, 91)], "supported"),
        ([(6, 80), (7, 80), (8, 80)], "supported"),  # information does not count
        ([(3, 91), (2, 91), (1, 91)], "not supported"),
        ([(4.5, 91), (4.6, 91), (4.7, 91)], "not supported"),  # one check fails on every seed
        ([(6, 91), (4.5, 91), (8, 91)], "inconclusive"),
        ([(6, 91), (3, 91), (3, 91)], "inconclusive"),
    ],
)
def test_verdict_follows_from_the_decisive_checks(systems, verdict):
    assert hand_made(*systems).verdict() == verdict


def test_table_and_page_of_hand_made_rows():
    result = hand_made((6, 91), (8, 93))
    assert result.table()["system"]["rank"] == pytest.approx((7.0, math.sqrt(2)))
    page = markdown(result)
    assert "| system | 7.000 ± 1.414 | 92.000 ± 1.414 |" in page
    assert "| rank is higher | yes | 2 of 2 |" in page
    assert "| accuracy is higher | information | 2 of 2 |" in page
    assert "`tacit reproduce dummy --seeds 2`" in page


def test_mv_dhel_checks_on_made_up_ranks():
    def rows(dhel: tuple[float, ...]) -> Rows:
        values = {"PWE NT-Xent": (19, 19, 19), "MV-InfoNCE": (19, 18, 17), "MV-DHEL": dhel}
        return {
            f"{label}, {n} views": {"RankMe": rank, "uniformity": -rank, "5-NN accuracy (%)": 97.0}
            for label, ranks in values.items()
            for n, rank in zip(VIEWS, ranks)
        }

    def decisive(dhel: tuple[float, ...]) -> list[bool]:
        return [check.holds for check in MVDHELClaim().checks(rows(dhel)) if check.decisive]

    assert decisive((28, 38, 44)) == [True, True, True, True]
    assert decisive((24, 38, 44)) == [False, True, True, True]
    assert decisive((28, 38, 41)) == [True, False, True, True]


def test_rankme_checks_on_made_up_sweeps():
    def rows(last_rank: float, tiny_variance: float) -> Rows:
        out: Rows = {}
        for sweep in SWEEPS:
            variances = [64.0] * 5
            if sweep is SPREAD:
                variances[-1] = tiny_variance
            for i, value in enumerate(sweep.values):
                rank = last_rank if sweep is COVARIANCE and i == 4 else 10.0 + i
                out[sweep.setting(value)] = {"RankMe": rank, "total variance": variances[i]}
            out[sweep.summary] = {"Spearman": 0.9, "regret": 0.5}
        return out

    good = RankMeClaim().checks(rows(20.0, 0.01))
    assert all(check.holds for check in good)
    bad = RankMeClaim().checks(rows(12.0, 64.0))
    assert [check.holds for check in bad] == [False, True, True, True, False, True]


def test_digits_are_split_and_scaled():
    digits = load_digits()
    assert digits.train_x.shape == (1200, 1, 8, 8)
    assert digits.test_x.shape == (597, 1, 8, 8)
    assert digits.train_x.min() == 0
    assert digits.train_x.max() == 1
    assert len(digits.train_y.unique()) == len(digits.test_y.unique()) == 10


def test_views_depend_on_the_generator_only_and_move_the_image(generator):
    images = load_digits().train_x[:16]
    views = geometric_views(3, noise=0.0)
    first = views(images, torch.Generator().manual_seed(1))
    again = views(images, torch.Generator().manual_seed(1))
    assert len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.allclose(first[0], first[1])
    # a shift of at most 1 pixel along both axes, turned and divided by a zoom of 0.75 or more
    blob = torch.zeros(200, 1, 8, 8)
    blob[:, :, 3:5, 3:5] = 1
    (moved,) = geometric_views(1, noise=0.0)(blob, generator)
    columns = torch.arange(8.0)
    centre = (moved.sum(2)[:, 0] * columns).sum(1) / moved.sum((1, 2, 3))
    limit = (math.cos(0.35) + math.sin(0.35)) / 0.75
    assert 1.0 < (centre - 3.5).abs().max() < limit


def test_training_uses_the_method_hooks_and_keeps_progress():
    class Steps:
        seen: list[tuple[int, int, float]] = []
        calls: list[str] = []

    method = digits_method("barlow-twins", width=16, seed=0)
    own_loss = method.training_loss

    def training_loss(batch):
        Steps.seen.append(tuple(method.progress))
        assert method.training
        assert len(batch) == 8
        return own_loss(batch)

    method.training_loss = training_loss
    method.before_step = lambda: Steps.calls.append("before")
    method.after_step = lambda: Steps.calls.append("after")
    watched: list[int] = []
    losses = train(
        method,
        geometric_views(2, noise=0.1),
        load_digits().train_x[:20],
        optimizer=ADAM,
        batch_size=8,
        steps=5,
        seed=0,
        watch=watched.append,
    )
    assert len(losses) == 5
    assert [step for step, _, _ in Steps.seen] == [0, 1, 2, 3, 4]
    assert [epoch for _, epoch, _ in Steps.seen] == [0, 0, 1, 1, 2]
    assert Steps.seen[-1][2] == pytest.approx(0.8)
    assert Steps.calls == ["before", "after"] * 5
    assert watched == [1, 2, 3, 4, 5]
    assert not method.training


@pytest.mark.parametrize(
    "name", ["mv-dhel", "multi-view", "mv-infonce", "mix-bt", "barlow-twins", "vicreg", "simclr"]
)
def test_every_method_of_the_claims_learns_on_digits(name):
    digits = load_digits()
    method = digits_method(name, width=32, seed=0)
    losses = train(
        method,
        geometric_views(2, noise=0.1),
        digits.train_x[:512],
        optimizer=ADAM,
        batch_size=64,
        steps=24,
        seed=0,
    )
    assert sum(losses[-4:]) < sum(losses[:4])
    assert apply(method.project, digits.test_x).shape == (597, 32)
    assert knn_percent(method, digits) > 80


def test_weights_depend_on_the_seed_only():
    state = torch.random.get_rng_state()
    a, b = (build_method("simclr", MLPEncoder, seed=5) for _ in range(2))
    c = build_method("simclr", MLPEncoder, seed=6)
    assert torch.equal(state, torch.random.get_rng_state())
    for p, q in zip(a.parameters(), b.parameters()):
        assert torch.equal(p, q)
    assert not torch.equal(next(a.parameters()), next(c.parameters()))


def test_a_linear_embedding_has_no_midpoint_error():
    method = digits_method("mix-bt", width=8, seed=0)
    images = load_digits().test_x
    method.project = lambda x: x.flatten(1)[:, 20:24]
    cosine, error = midpoint_errors(method, images, seed=0)
    assert cosine == pytest.approx(1, abs=1e-5)
    assert error == pytest.approx(0, abs=1e-8)
    method.project = lambda x: x.flatten(1)[:, 20:24] ** 3
    cosine, error = midpoint_errors(method, images, seed=0)
    assert cosine < 0.999
    assert error > 0.01


def test_no_seeds_or_no_steps_are_refused():
    with pytest.raises(ConfigError):
        reproduce("mv-dhel", seeds=0)
    with pytest.raises(ConfigError):
        reproduce("mv-dhel", scale=0)
