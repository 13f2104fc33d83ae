"""RankMe: choosing a hyper-parameter without labels, and a sweep where it goes wrong."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tacit.claims._digits import (
    ADAM,
    Digits,
    digits_method,
    geometric_views,
    knn_percent,
    load_digits,
)
from tacit.claims._loop import apply, train
from tacit.claims.base import Check, Claim, Rows
from tacit.evaluation import rankme, select_runs, selection_report
from tacit.methods.base import Paper

BATCH, EPOCHS = 128, 15
REPLICAS = 2

RANK, ACCURACY, VARIANCE = "RankMe", "5-NN accuracy (%)", "total variance"


class Sweep(NamedTuple):
    """One hyper-parameter of one method, everything else fixed."""

    label: str
    method: str
    option: str
    values: tuple[float, ...]
    fixed: dict[str, Any]

    def setting(self, value: float) -> str:
        """The row of one value."""
        return f"{self.label} {value:g}"

    @property
    def summary(self) -> str:
        """The row of RankMe's choice."""
        return f"{self.label}: RankMe's choice"


COVARIANCE = Sweep(
    "VICReg covariance weight",
    "vicreg",
    "cov_weight",
    (0.0, 0.01, 0.1, 1.0, 10.0),
    {"sim_weight": 25.0, "var_weight": 25.0},
)
TEMPERATURE = Sweep("SimCLR temperature", "simclr", "temperature", (0.05, 0.1, 0.3, 1.0, 3.0), {})
SPREAD = Sweep(
    "VICReg variance weight",
    "vicreg",
    "var_weight",
    (0.1, 1.0, 5.0, 25.0, 100.0),
    {"sim_weight": 25.0, "cov_weight": 1.0},
)
SWEEPS = (COVARIANCE, TEMPERATURE, SPREAD)


def _runs(rows: Rows, sweep: Sweep) -> list[dict[str, Any]]:
    """The rows of a sweep as `select_runs` reads them; losses of other weights don't compare."""
    return [
        {
            "name": sweep.setting(value),
            "rankme": rows[sweep.setting(value)][RANK],
            "total_variance": rows[sweep.setting(value)][VARIANCE],
        }
        for value in sweep.values
    ]


class RankMeClaim(Claim):
    """Two sweeps in which RankMe should choose well, and one in which it should not be trusted."""

    paper = Paper(
        "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised "
        "Representations by Their Rank",
        "Garrido, Balestriero, Najman, LeCun",
        2023,
        "https://arxiv.org/abs/2210.02885",
    )
    statement = (
        "Among runs of one method that differ in one hyper-parameter, the run with the highest "
        "effective rank of its embeddings is close to the best by labelled accuracy."
    )
    protocol = (
        "scikit-learn digits (1,200 random images for training, the other 597 for testing); MLP "
        "64-256-256 with the projector 256-128-64; views with random rotation, scale, shift (1 "
        "pixel) and noise 0.2; 128 samples a step, Adam 1e-3, 15 epochs. VICReg's covariance "
        "weight (others 25 and 25), SimCLR's temperature, and as a counter-example VICReg's "
        "variance weight (others 25 and 1), five values each; every number is the mean of two "
        "networks. RankMe and total variance of the projector's output on the clean training "
        "images; accuracy of 5 nearest neighbours on the encoder's output. Spearman's correlation "
        "of RankMe and accuracy; regret is the best accuracy of a sweep minus that of RankMe's "
        "choice, in points."
    )

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        digits = load_digits()
        rows: Rows = {}
        for sweep in SWEEPS:
            runs = {
                sweep.setting(value): self._mean(sweep, value, seed, scale, digits)
                for value in sweep.values
            }
            accuracies = [run[ACCURACY] for run in runs.values()]
            report = selection_report([run[RANK] for run in runs.values()], accuracies)
            chosen = select_runs(_runs(runs, sweep)).chosen["name"]
            quality = {
                "Spearman": report.spearman,
                "regret": max(accuracies) - runs[chosen][ACCURACY],
            }
            rows |= {sweep.summary: {**runs[chosen], **quality}, **runs}
        return rows

    @staticmethod
    def _mean(
        sweep: Sweep, value: float, seed: int, scale: float, digits: Digits
    ) -> dict[str, float]:
        """Metrics of one value, averaged over the networks of this seed."""
        steps = max(1, round(scale * EPOCHS * (len(digits.train_x) // BATCH)))
        found = []
        for own_seed in range(REPLICAS * seed, REPLICAS * (seed + 1)):
            options = {**sweep.fixed, sweep.option: value}
            method = digits_method(sweep.method, width=64, seed=own_seed, **options)
            train(
                method,
                geometric_views(2, noise=0.2),
                digits.train_x,
                optimizer=ADAM,
                batch_size=BATCH,
                steps=steps,
                seed=own_seed,
            )
            z = apply(method.project, digits.train_x)
            found.append((rankme(z), knn_percent(method, digits), float(z.var(dim=0).sum())))
        return dict(zip((RANK, ACCURACY, VARIANCE), np.mean(found, axis=0).tolist()))

    def checks(self, rows: Rows) -> list[Check]:
        ranks = [rows[COVARIANCE.setting(value)][RANK] for value in COVARIANCE.values]
        warned = [bool(select_runs(_runs(rows, sweep)).warnings) for sweep in SWEEPS]
        return [
            Check(
                "RankMe rises strictly with VICReg's covariance weight",
                all(low < high for low, high in pairwise(ranks)),
            ),
            Check(
                "Spearman's correlation is at least 0.8 in the sweep of the covariance weight",
                rows[COVARIANCE.summary]["Spearman"] >= 0.8,
            ),
            Check(
                "regret is at most 1 point in the sweep of the covariance weight",
                rows[COVARIANCE.summary]["regret"] <= 1,
            ),
            Check(
                "regret is at most 1 point in the sweep of SimCLR's temperature",
                rows[TEMPERATURE.summary]["regret"] <= 1,
            ),
            Check(
                "counter-example: select_runs warns in the sweep of VICReg's variance weight",
                warned[2],
                decisive=False,
            ),
            Check(
                "select_runs does not warn in the other two sweeps",
                not any(warned[:2]),
                decisive=False,
            ),
        ]
