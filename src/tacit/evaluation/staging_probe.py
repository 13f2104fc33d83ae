"""Sleep staging on frozen features: a context network over the epochs of every recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.data.series import SeriesSource
from tacit.encoders.base import Features
from tacit.encoders.series import SeriesEncoder, TemporalContext
from tacit.errors import DataError
from tacit.evaluation.fine_tune import fit_temporal_context, predict_epochs, recording_positions
from tacit.evaluation.hypnogram import plot_hypnogram
from tacit.evaluation.staging import StagingScores, staging_scores

FILE = re.compile(r"^\d\d\d-.*\.png$")  # what `save_hypnograms` writes


class Codes(SeriesEncoder):
    """Features that were computed before, as they are: (n, 1, dim) to (n, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_channels, self.dim = 1, dim
        self.register_buffer("anchor", torch.zeros(1))

    def features(self, x: Tensor) -> Features:  # type: ignore[override]
        return Features(x[:, 0])


class StagingProbe(NamedTuple):
    """What a staging probe found on the test recordings.

    Attributes
    ----------
    scores : over the scored epochs of all test recordings.
    predicted : (n,) the stage of every test epoch, unscored ones too.
    """

    scores: StagingScores
    predicted: np.ndarray

    def metrics(self, stages: Sequence[str]) -> dict[str, float]:
        """Accuracy, macro-F1, Cohen's kappa, and F1 of every stage that the truth has."""
        found = {
            "accuracy": self.scores.accuracy,
            "macro_f1": self.scores.macro_f1,
            "kappa": self.scores.kappa,
        }
        true = self.scores.confusion.sum(1)
        f1 = self.scores.per_class_f1
        return found | {f"f1 {stages[c]}": float(f1[c]) for c in np.flatnonzero(true)}


def staging_probe(
    train: tuple[Any, Any, Sequence[np.ndarray]],
    test: tuple[Any, Any, Sequence[np.ndarray]],
    n_classes: int = 5,
    *,
    kind: str = "mamba",
    epochs: int = 150,
    length: int = 20,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> StagingProbe:
    """Train a context network on frozen features of consecutive epochs; label the test recordings.

    The features are standardised by the training epochs. The network is that of NeuroNet's temporal
    context module with its published training, with the encoder frozen altogether (published: its
    last MLP is trained too; for that see `TemporalContext`).

    Parameters
    ----------
    train, test : (features (n, d), labels (n,) with -1 for unscored epochs, recordings): the rows
        of every recording in their order, as `recording_positions` gives them.
    n_classes : number of stages.
    kind, epochs, length : context network, passes, and epochs of a window (see `TemporalContext`
        and `fit_temporal_context`).
    seed : of weights and order.
    tell : called with a line a pass.

    Raises
    ------
    DataError : too few windows, no scored epoch, labels out of range, or features not finite.

    References
    ----------
    Lee et al., "NeuroNet", 2024.

    >>> stages = np.arange(80) // 10 % 2
    >>> night = (np.eye(2)[stages], stages, [np.arange(40), np.arange(40, 80)])
    >>> staging_probe(night, night, 2, epochs=20).scores.accuracy > 0.9
    True
    """
    (x, y, train_rows), (test_x, test_y, test_rows) = train, test
    features = [torch.as_tensor(part, dtype=torch.float32) for part in (x, test_x)]
    labels = [torch.as_tensor(part).long() for part in (y, test_y)]
    if not bool((labels[1] >= 0).any()):
        raise DataError("no epoch of the test recordings is scored")
    mean, std = features[0].mean(0), features[0].std(0)
    scaled = [(part - mean) / torch.where(std > 0, std, 1) for part in features]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codes = Codes(scaled[0].shape[1])
        model = TemporalContext(codes, kind, unfreeze="none", n_classes=n_classes)
    recordings = [(scaled[0][rows][:, None], labels[0][rows]) for rows in train_rows]
    fit_temporal_context(model, recordings, epochs=epochs, length=length, seed=seed, tell=tell)
    predicted = torch.full((len(labels[1]),), -1)
    for rows in test_rows:
        scores = predict_epochs(model, scaled[1][rows][:, None], length=length, step=length)
        predicted[torch.as_tensor(rows)] = scores.argmax(1).cpu()
    return StagingProbe(staging_scores(labels[1], predicted, n_classes), predicted.numpy())


def check_recordings(source: Any) -> None:
    """Raise a DataError unless the source has labelled epochs of recordings, in an order."""
    if not isinstance(source, SeriesSource) or source.onsets is None:
        raise DataError(
            f"'{source.name}' has no consecutive epochs of recordings, which staging reads in "
            "their order. It is for time series that were cut into windows: edf:PATH, or "
            "another file with #window=30s."
        )


def save_hypnograms(
    source: SeriesSource, predicted: np.ndarray, stages: Sequence[str], folder: Path
) -> list[Path]:
    """A picture of every recording of the source, scored and predicted, ``NNN-NAME.png``.

    Pictures of an earlier call are replaced. Recordings without a scored epoch are drawn too: the
    prediction is then all there is.
    """
    assert source.labels is not None
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if FILE.match(old.name):
            old.unlink()
    paths = []
    for number, rows in enumerate(recording_positions(source), 1):
        name = source.recording_name(int(rows[0])) or f"recording {number}"
        safe = re.sub(r"\.(edf|bdf)$", "", re.sub(r"[^\w.-]+", "_", name))[:80]
        path = folder / f"{number:03d}-{safe}.png"
        steps = np.diff(source.onsets[rows]) if source.onsets is not None else np.array([])
        seconds = float(np.median(steps)) if len(steps) and source.rate else None
        plot_hypnogram(
            source.labels[rows],
            predicted[rows],
            path,
            stages=stages,
            epoch_seconds=seconds,
            title=name,
        )
        paths.append(path)
    return paths
