"""Train classifiers of epochs on a pre-trained encoder, and let them label recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.data.series import SeriesSource
from tacit.encoders.series.temporal_context import Downstream, EpochClassifier, TemporalContext
from tacit.errors import DataError
from tacit.evaluation.windows import context_windows, merge_windows

Recording = tuple[Tensor, Any]  # epochs (n, T) or (n, C, T) in their order, labels (n,)


def recording_positions(source: SeriesSource) -> list[np.ndarray]:
    """Positions of the epochs of every recording of a source, in their order.

    A recording ends with its group (subject), where the source says that another one begins, and
    where the onset of an epoch is not later than that of the one before: two nights of one subject
    are two recordings. Without groups, recordings and onsets all epochs are one recording.

    >>> onsets, groups = np.array([0.0, 30, 0, 30, 60]), np.array([1, 1, 0, 0, 0])
    >>> source = SeriesSource("x", np.eye(5)[:, None], onsets=onsets, groups=groups)
    >>> [rows.tolist() for rows in recording_positions(source)]
    [[2, 3, 4], [0, 1]]
    """
    same = np.zeros(len(source), np.int64)
    known = [same if which is None else which for which in (source.groups, source.recordings)]
    names, night = np.unique(np.stack(known), axis=1, return_inverse=True)
    out = []
    for number in range(names.shape[1]):
        rows = np.flatnonzero(night.reshape(-1) == number)
        if source.onsets is None:
            out.append(rows)
        else:
            out += np.split(rows, np.flatnonzero(np.diff(source.onsets[rows]) <= 0) + 1)
    return out


def fit_temporal_context(
    model: TemporalContext,
    recordings: Sequence[Recording],
    *,
    epochs: int = 150,
    batch_size: int = 64,
    lr: float = 5e-4,
    weight_decay: float = 0.01,
    length: int = 20,
    step: int = 10,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> list[float]:
    """Train on windows of consecutive epochs, AdamW with a cosine to 0; the last weights stay.

    (The official code keeps the best epoch of the test set, which flatters the result.) A frozen
    encoder is run once over all epochs. Labels below 0 are not trained on.

    Parameters
    ----------
    model : trained in place, left in evaluation mode.
    recordings : (epochs, labels) of every training recording.
    epochs, batch_size, lr, weight_decay : passes over the windows, windows a step, AdamW.
    length, step : of the windows, as in `context_windows`.
    seed : of the order (and of dropout, where the context network has it).
    tell : called with a line an epoch.

    Returns
    -------
    The mean loss of every pass.

    Raises
    ------
    DataError : no recordings, different shapes, labels out of range, or fewer than two windows.
    """
    x, y = _join(recordings, model.n_classes)
    sizes = [len(labels) for _, labels in recordings]
    windows, start = [], 0
    for n in sizes:
        here = context_windows(n, length, step)
        windows.append(torch.where(here >= 0, here + start, -1))
        start += n
    return _fit(model, x, y, torch.cat(windows), epochs, batch_size, lr, weight_decay, seed, tell)


def fit_epoch_classifier(
    model: EpochClassifier,
    recordings: Sequence[Recording],
    *,
    epochs: int = 300,
    batch_size: int = 512,
    lr: float = 5e-5,
    weight_decay: float = 0.01,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> list[float]:
    """Train on single epochs; arguments as in `fit_temporal_context`.

    Returns
    -------
    The mean loss of every pass.
    """
    x, y = _join(recordings, model.n_classes)
    single = torch.arange(len(x))
    return _fit(model, x, y, single, epochs, batch_size, lr, weight_decay, seed, tell)


@torch.no_grad()
def predict_epochs(
    model: Downstream,
    x: Tensor,
    *,
    length: int = 20,
    step: int = 20,
    batch_size: int = 64,
) -> Float[Tensor, "n classes"]:
    """Class probabilities of every epoch of one recording.

    Parameters
    ----------
    model : an `EpochClassifier`, or a `TemporalContext`, whose windows are merged by epoch.
    x : (n, T) or (n, C, T) the epochs of one recording, in their order.
    length, step : of the windows (not used for single epochs).
    batch_size : windows (or epochs) of one pass.
    """
    was_training = model.training
    model.eval()
    codes = torch.cat([model.codes(part) for part in _on(model, x).split(batch_size)])
    if isinstance(model, TemporalContext):
        windows = context_windows(len(x), length, step)
        # padding is at the end, and repeats the last epoch
        parts = codes[windows.where(windows >= 0, len(x) - 1)].split(batch_size)
        scores = torch.cat([model.classify(part).softmax(-1) for part in parts])
        out = merge_windows(scores, windows.to(scores.device), len(x))
    else:
        parts = codes.split(batch_size)
        out = torch.cat([model.classify(part).softmax(-1) for part in parts])  # type: ignore[operator]
    model.train(was_training)
    return out


def _fit(
    model: Any,
    x: Tensor,
    y: Tensor,
    windows: Tensor,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    seed: int,
    tell: Callable[[str], None] | None,
) -> list[float]:
    if len(windows) < 2:
        raise DataError(
            "training needs at least 2 windows (batch norm); give more or longer recordings, or "
            "a smaller step"
        )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    x, y, history = _on(model, x), y.to(next(model.parameters()).device), []
    frozen = model.unfreeze == "none" and model.frozen_eval
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.train()
        if frozen:
            with torch.no_grad():
                x = torch.cat([model.codes(part) for part in x.split(256)])
        for epoch in range(epochs):
            total = 0.0
            batches = list(
                windows[torch.randperm(len(windows), generator=generator)].split(batch_size)
            )
            if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm needs two
                batches[-2:] = [torch.cat(batches[-2:])]
            for rows in batches:
                real = rows.clamp_min(0)
                scores = model.classify(x[real]) if frozen else model(x[real])
                labels = y[real].where(rows.to(y.device) >= 0, -1)
                loss = _cross_entropy(scores, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            schedule.step()
            history.append(total / len(windows))
            if tell is not None:
                tell(f"epoch {epoch + 1} of {epochs}: loss {history[-1]:.4f}")
    model.eval()
    return history


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over labelled epochs; 0 where the batch has none."""
    total = F.cross_entropy(
        scores.flatten(0, -2), labels.flatten(), ignore_index=-1, reduction="sum"
    )
    return total / (labels >= 0).sum().clamp_min(1)


def _on(model: nn.Module, x: Tensor) -> Tensor:
    return x.to(next(model.parameters()).device)


def _join(recordings: Sequence[Recording], n_classes: int) -> tuple[Tensor, Tensor]:
    """All epochs and labels, checked."""
    if not recordings:
        raise DataError("there are no recordings to train on")
    for i, (x, y) in enumerate(recordings):
        if x.shape[1:] != recordings[0][0].shape[1:] or len(x) != len(y) or len(x) == 0:
            raise DataError(
                f"recording {i} has epochs of shape {tuple(x.shape)} and {len(y)} labels; all "
                f"need one shape (the first has {tuple(recordings[0][0].shape)}) and a label an "
                "epoch"
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError(f"recording {i} has NaN or infinite values")
    labels = torch.cat([torch.as_tensor(y).long() for _, y in recordings]).clamp_min(-1)
    if int(labels.max()) >= n_classes or int(labels.max()) < 0:
        raise DataError(
            f"labels must be in 0..{n_classes - 1} (negative: unscored), got {int(labels.min())} "
            f"to {int(labels.max())}"
        )
    return torch.cat([x for x, _ in recordings]), labels
