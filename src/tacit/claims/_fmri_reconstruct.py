"""Pre-training on recordings, and how well hidden connectivity of unseen subjects is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.claims._loop import build_method, train
from tacit.claims.base import Rows
from tacit.data.fmri import FMRISource
from tacit.data.open import open_source
from tacit.encoders.fmri import DynamicFCEncoder
from tacit.errors import DataError
from tacit.evaluation import linear_probe
from tacit.methods.generative import Windows
from tacit.methods.generative.st_mae import STMAE
from tacit.recipe import OptimizerConfig, ScheduleConfig
from tacit.views.fmri import sliding_fc, sparsify_fc
from tacit.views.fmri_masks import draw_triples

WINDOW, STRIDE = 40, 8
TRAIN = 12  # of 17 subjects
RECORDINGS, WINDOWS = 4, 8  # a step: 32 windows
REPEATS = 5  # draws of masks and triples in a measurement
SPATIAL, TEMPORAL = "spatial MSE", "temporal MSE"
FINGERPRINT = "subject found (%)"


def open_leida(folder: str, file: str) -> FMRISource:
    """A file of the folder with the recordings of LEiDA."""
    path = Path(folder).expanduser() / file
    if not path.is_file():
        raise DataError(
            f"there is no file {path}. Give the folder that has music_aal90.npz (`series` 17 x 90 "
            "x 464, `tr_seconds`, from the text files MUSIC_preadolescents/Pre_s*) and "
            "example_BOLD.mat of the repository juanitacabral/LEiDA: --data FOLDER."
        )
    source: Any = open_source(f"fmri:{path}")
    return source


def pretrain(
    x: Tensor, *, window: int, stride: int, steps: int, seed: int, dim: int = 64, **options: Any
) -> STMAE:
    """ST-MAE on recordings (n, regions, T) with 32 windows a step; in eval mode."""

    def encoder() -> DynamicFCEncoder:
        return DynamicFCEncoder(
            n_rois=x.shape[1], window=window, stride=stride, dim=dim, layers=3, pool="regions"
        )

    method: Any = build_method(
        "st-mae", encoder, seed=seed, options={"windows": WINDOWS, **options}
    )
    train(
        method,
        lambda batch, _: [batch],
        x,
        optimizer=OptimizerConfig(name="adam", lr=2e-3, scale_lr=False, weight_decay=0.0),
        schedule=ScheduleConfig(name="cosine", warmup=0.0),
        batch_size=RECORDINGS,
        steps=steps,
        seed=seed,
    )
    return method.eval()  # type: ignore[no-any-return]


@torch.no_grad()
def reconstruction_rows(
    prefix: str, method: STMAE, untrained: STMAE, train_x: Tensor, test_x: Tensor
) -> Rows:
    """Off-diagonal errors of masked rows on the test recordings, also of simple predictions.

    All predictions are compared on the same masks and windows.
    """
    fc = sliding_fc(test_x.mT, WINDOW, STRIDE)[0]
    every = Windows(fc, sparsify_fc(fc))
    group = sliding_fc(train_x.mT, WINDOW, STRIDE)[0].mean((0, 1))
    own = fc.mean(1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    totals: dict[str, dict[str, list[float]]] = {}

    def add(name: str, metric: str, made: Tensor, true: Tensor, nodes: Tensor) -> None:
        hidden = nodes[..., None] & ~torch.eye(fc.shape[-1], dtype=torch.bool)
        error = float((made - true).square()[hidden].mean())
        totals.setdefault(f"{prefix}: {name}", {}).setdefault(metric, []).append(error)

    for _ in range(REPEATS):
        masks = method.autoencoder.draw_masks(every.adj, generator)
        triple = draw_triples(fc.shape[1], fc.shape[:2], method.autoencoder.gap, generator)
        before, centre, after = (every.take(position) for position in triple)
        sides = tuple(method.autoencoder.draw_masks(w.adj, generator) for w in (before, after))
        fresh = method.autoencoder.draw_masks(centre.adj, generator).nodes
        for name, net in (("ST-MAE", method.autoencoder), ("untrained", untrained.autoencoder)):
            add(name, SPATIAL, net.spatial(every, masks).profiles, fc, masks.nodes)
            add(name, TEMPORAL, net.temporal(before, after, sides).profiles, centre.fc, fresh)  # type: ignore[arg-type]
        for name, mean in (("group-mean FC", group), ("the subject's own mean FC", own)):
            add(name, SPATIAL, mean.expand_as(fc), fc, masks.nodes)
            add(name, TEMPORAL, mean.expand_as(fc), centre.fc, fresh)
        average = (before.fc + after.fc) / 2
        add("average of the two neighbours", TEMPORAL, average, centre.fc, fresh)
    return {
        name: {metric: sum(values) / len(values) for metric, values in metrics.items()}
        for name, metrics in totals.items()
    }


@torch.no_grad()
def window_codes(method: STMAE, fc: Tensor, pool: str) -> Tensor:
    """Codes of windows (n, T, N, N) -> (n, T, d): the mean over regions, or all of them."""
    codes = method.autoencoder.encoder(fc, sparsify_fc(fc))
    return codes.mean(2) if pool == "mean" else codes.flatten(2)


def fingerprint_rows(method: STMAE, untrained: STMAE, x: Tensor) -> Rows:
    """Whose window is it? Linear probe from the first half of every scan to the second."""
    half = x.shape[2] // 2
    halves = [sliding_fc(part.mT, WINDOW, STRIDE)[0] for part in (x[..., :half], x[..., half:])]
    row, column = torch.triu_indices(x.shape[1], x.shape[1], 1)
    features = {"raw FC": [fc[..., row, column] for fc in halves]}
    for name, net in (("untrained", untrained), ("ST-MAE", method)):
        for pool in ("mean", "all"):
            label = f"{name}, {'mean over' if pool == 'mean' else 'all'} regions"
            features[label] = [window_codes(net, fc, pool) for fc in halves]
    rows: Rows = {}
    for name, (first, second) in features.items():
        subject = [
            torch.arange(len(x)).repeat_interleave(part.shape[1]) for part in (first, second)
        ]
        found = linear_probe(first.flatten(0, 1), subject[0], second.flatten(0, 1), subject[1])
        rows[f"fingerprint: {name}"] = {FINGERPRINT: 100 * found.accuracy}
    return rows
