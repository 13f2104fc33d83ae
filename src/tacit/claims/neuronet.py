"""NeuroNet: masked prediction and contrast on one channel of EEG, then context over epochs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.claims._loop import apply, build_method, train
from tacit.claims.base import Check, Claim, Rows
from tacit.data import open_source
from tacit.data.series import SeriesSource
from tacit.encoders.series import EpochClassifier, FrameTransformer, TemporalContext
from tacit.errors import DataError
from tacit.evaluation import (
    fit_epoch_classifier,
    fit_temporal_context,
    linear_probe,
    predict_epochs,
    staging_scores,
)
from tacit.evaluation.staging_probe import Codes
from tacit.methods.hybrid.neuronet import NeuroNetMethod
from tacit.recipe import OptimizerConfig, ScheduleConfig

READ = "#rate=173.61,resample=100,unequal=crop,length=2100"
RATE, BATCH, STEPS, PER_CLASS = 100.0, 24, 500, 60
ADAMW = OptimizerConfig(name="adamw", lr=5e-4, scale_lr=False, weight_decay=0.01, decay_all=True)
COSINE = ScheduleConfig(name="cosine", warmup=0.0)
SMALL = {"dec_dim": 64, "dec_heads": 4, "dec_depth": 1, "mask_ratio": 0.7}
PROJECTOR = {"proj_hidden_dim": 128, "proj_output_dim": 64}
VARIANTS: dict[str, dict[str, float]] = {
    "hybrid": {},
    "prediction only": {"alpha": 0.0},
    "contrast only": {"recon_weight": 0.0},
}
BANDS = (0.5, 4, 8, 13, 30, 45)
MANY, FEW = "300 labels (%)", "50 labels (%)"
EPOCHS = "epochs by themselves"
ORDERED, SHUFFLED = "context (Mamba)", "context, order shuffled"


def spectra(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log powers of five bands, and the log spectrum up to 45 Hz, of series (n, 1, T)."""
    from scipy.signal import welch

    frequency, power = welch(x[:, 0].numpy(), RATE, nperseg=300, axis=-1)
    edges = pairwise(BANDS)
    bands = [power[:, (frequency >= a) & (frequency < b)].mean(1) for a, b in edges]
    kept = (frequency >= BANDS[0]) & (frequency <= BANDS[-1])
    return np.log(np.stack(bands, 1) + 1e-9), np.log(power[:, kept] + 1e-9)


class NeuroNetClaim(Claim):
    """Hybrid against its two halves on Bonn EEG; a Mamba context network on sequences."""

    paper = NeuroNetMethod.paper
    statement = (
        "Masked prediction and contrast together learn features of single-channel EEG without "
        "collapse, better than an untrained network's; a context network over consecutive epochs "
        "labels them better than epochs by themselves. (That the hybrid is best of its parts is "
        "information here.)"
    )
    protocol = (
        "Bonn EEG: 5 classes of 100 segments, resampled to 100 Hz, the first 21 s, one scale for "
        "all; files 1 to 60 of a class for training (no labels in pre-training), the others for "
        "the test. Frames of 3 s every 3 s (7), D = 128, 4 heads, 2 blocks, decoder 64 wide with "
        "1 block, projector 128-64, mask ratio 0.7, temperature 0.05, AdamW 5e-4 with a cosine, "
        "500 steps of 24 segments. Features: mean frame token in evaluation mode; standardised "
        "logistic regression, C = 0.1, on all 300 labels and on 10 a class (drawn by the seed). "
        "Baselines: the untrained network, band powers, log spectrum. Then sequences whose classes "
        "follow a Markov chain that stays with probability 0.9 (20 of 100 epochs from training "
        "segments, 20 from test segments): a single-epoch classifier and a Mamba context network "
        "on the hybrid's frozen features; the same with the epochs of every sequence shuffled. "
        "One check was made stricter after the committed run: removing the gain by shuffling now "
        "needs a gain (1 of 3 seeds instead of 3)."
    )
    data = "txt:bonn.zip"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._run(seed, scale, data or self.data)
        finally:
            torch.set_num_threads(threads)

    def _run(self, seed: int, scale: float, data: str) -> Rows:
        train_x, train_y, test_x, test_y = load(data)
        few = few_per_class(train_y, 10, seed)

        def probe(a: Any, b: Any) -> dict[str, float]:
            a, b = torch.as_tensor(a), torch.as_tensor(b)
            many = linear_probe(a, train_y, b, test_y, C=0.1)
            some = linear_probe(a[few], train_y[few], b, test_y, C=0.1)
            return {MANY: 100 * many.accuracy, FEW: 100 * some.accuracy}

        rows: Rows = {}
        for name, parts in zip(
            ("band powers", "log spectrum"), zip(spectra(train_x), spectra(test_x))
        ):
            rows[name] = probe(*parts)
        health: Rows = {}
        for name, options in {"untrained": {}, **VARIANTS}.items():
            method = small_method(seed, options)
            steps = 0 if name == "untrained" else max(1, round(scale * STEPS))
            train(
                method,
                lambda x, generator: [x],
                train_x,
                optimizer=ADAMW,
                schedule=COSINE,
                batch_size=BATCH,
                steps=steps,
                seed=seed,
            )
            method.eval()
            codes = [apply(method.embed, x, 50) for x in (train_x, test_x)]
            rows[name] = probe(*codes)
            health[f"{name}: health"] = {
                "retrieval accuracy": retrieval(method, test_x),
                "std of frame features": frame_std(method, test_x),
            }
            if name == "hybrid":
                hybrid = codes
        rows |= health
        rows |= context(hybrid[0], train_y, hybrid[1], test_y, seed, scale)
        return rows

    def checks(self, rows: Rows) -> list[Check]:
        hybrid, untrained = rows["hybrid"], rows["untrained"]
        std = "std of frame features"
        gain = rows[ORDERED]["accuracy (%)"] - rows[EPOCHS]["accuracy (%)"]
        shuffled = rows[SHUFFLED]["accuracy (%)"] - rows[EPOCHS]["accuracy (%)"]
        checks = [
            Check(
                "hybrid: more than half of the masked segments find their other branch",
                rows["hybrid: health"]["retrieval accuracy"] > 0.5,
            ),
            Check(
                "hybrid: the frame features vary no less than half as much as untrained ones",
                rows["hybrid: health"][std] >= 0.5 * rows["untrained: health"][std],
            ),
            Check(
                "50 labels: the hybrid is not below the untrained network",
                hybrid[FEW] >= untrained[FEW],
            ),
            Check("the context network beats epochs by themselves", gain > 0),
            Check(
                "shuffling the order removes more than half of the gain (there is one)",
                gain > 0 and shuffled < gain / 2,
            ),
            Check(
                "the context network labels sequences in order better than shuffled ones",
                gain > shuffled,
                decisive=False,
            ),
        ]
        for other in ("prediction only", "contrast only", "band powers", "log spectrum"):
            for labels in (MANY, FEW):
                checks.append(
                    Check(
                        f"{labels.split(' (')[0]}: the hybrid is above {other}",
                        hybrid[labels] > rows[other][labels],
                        decisive=False,
                    )
                )
        return checks


def load(data: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test segments (n, 1, 2100) with one scale, and their labels."""
    source = open_source(data if "#" in data else data + READ)
    if not isinstance(source, SeriesSource) or source.labels is None or source.shape != (1, 2100):
        raise DataError(
            f"'{data}' is not Bonn EEG: give its zip archive or folder as txt:PATH, with one "
            "sub-folder for each of the five sets"
        )
    labels, count = torch.from_numpy(source.labels), torch.bincount(torch.from_numpy(source.labels))
    if count.tolist() != [100] * 5:
        raise DataError(f"'{data}' has {count.tolist()} segments a class instead of 5 x 100")
    x = source.batch(np.arange(len(source)))
    number = torch.arange(100).repeat(5)  # sorted by class and file number
    kept = number < PER_CLASS
    x = (x - x[kept].mean()) / x[kept].std()
    return x[kept], labels[kept], x[~kept], labels[~kept]


def few_per_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Positions of `count` random samples of every class."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == c][:count] for c in labels.unique()])


def small_method(seed: int, options: dict[str, float]) -> NeuroNetMethod:
    """NeuroNet at the claim's size."""

    def encoder() -> FrameTransformer:
        return FrameTransformer(1, 2100, rate=RATE, step_s=3.0, dim=128, heads=4, depth=2)

    return build_method(  # type: ignore[return-value]
        "neuronet", encoder, seed=seed, options={**SMALL, **PROJECTOR, **options}
    )


@torch.no_grad()
def retrieval(method: NeuroNetMethod, x: Tensor) -> float:
    """Share of test segments, in batches of 50, that find their other branch."""
    return float(torch.stack([method.terms(part)["acc"] for part in x.split(50)]).mean())


@torch.no_grad()
def frame_std(method: NeuroNetMethod, x: Tensor) -> float:
    """Standard deviation of the frame features over segments and frames, mean over features."""
    return float(apply(method.encoder.frames, x, 50).flatten(0, 1).std(0).mean())


def markov_sequences(
    codes: Tensor, labels: Tensor, generator: np.random.Generator, *, count: int = 20, n: int = 100
) -> list[tuple[Tensor, Tensor]]:
    """Sequences of random segments whose classes stay with probability 0.9, else change."""
    members = [np.flatnonzero(labels.numpy() == c) for c in range(5)]
    out = []
    for _ in range(count):
        changes = np.where(generator.random(n) < 0.9, 0, generator.integers(1, 5, n))
        classes = (generator.integers(5) + changes.cumsum()) % 5
        rows = torch.from_numpy(np.array([generator.choice(members[c]) for c in classes]))
        out.append((codes[rows][:, None], torch.from_numpy(classes)))
    return out


def context(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, seed: int, scale: float
) -> Rows:
    """Single epochs against sequences, in order and shuffled."""
    generator = np.random.default_rng(seed)
    mean, std = train_x.mean(0), train_x.std(0)
    train_x, test_x = (train_x - mean) / std, (test_x - mean) / std
    learn = markov_sequences(train_x, train_y, generator)
    judge = markov_sequences(test_x, test_y, generator)

    def shuffled(parts: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        orders = [torch.from_numpy(generator.permutation(len(y))) for _, y in parts]
        return [(x[order], y[order]) for (x, y), order in zip(parts, orders, strict=True)]

    dim, rows = train_x.shape[1], {}
    for name, learning, judging in (
        (EPOCHS, learn, judge),
        (ORDERED, learn, judge),
        (SHUFFLED, shuffled(learn), shuffled(judge)),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any
            if name == EPOCHS:
                model = EpochClassifier(Codes(dim))
                fit_epoch_classifier(
                    model, learning, epochs=max(1, round(30 * scale)), lr=1e-3, batch_size=64,
                    seed=seed,
                )  # fmt: skip
            else:
                model = TemporalContext(Codes(dim), "mamba", unfreeze="none", dim=64)
                fit_temporal_context(
                    model,
                    learning,
                    epochs=max(1, round(10 * scale)),
                    lr=1e-3,
                    batch_size=16,
                    seed=seed,
                )
        guesses = torch.cat([predict_epochs(model, x).argmax(1) for x, _ in judging])
        scores = staging_scores(torch.cat([y for _, y in judging]), guesses, 5)
        rows[name] = {
            "accuracy (%)": 100 * scores.accuracy,
            "macro-F1 (%)": 100 * scores.macro_f1,
            "kappa": scores.kappa,
        }
    return rows
