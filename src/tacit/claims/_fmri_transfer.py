"""Labelled tasks from few subjects: fine-tuned from pre-training, from scratch, and linear."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tacit.claims.base import Rows
from tacit.data.fmri import FMRISource
from tacit.encoders.fmri import GINEncoder
from tacit.evaluation import fine_tune_fc, linear_probe
from tacit.methods.generative.st_mae import STMAE
from tacit.views.fmri import sliding_fc, sparsify_fc

WINDOW, STRIDE = 30, 14
SUBJECTS = (2, 4, 8)
EPOCHS, BATCH = 20, 4
KEYS = [f"{count} subjects (%)" for count in SUBJECTS]


def static_fc(ts: Tensor) -> Tensor:
    """Correlations over whole recordings, (n, N (N - 1) / 2)."""
    fc = sliding_fc(ts, ts.shape[1], 1, last=True)[0][:, 0]
    row, column = torch.triu_indices(fc.shape[-1], fc.shape[-1], 1)
    return fc[:, row, column]


@torch.no_grad()
def codes(encoder: GINEncoder, ts: Tensor, window: int, stride: int) -> Tensor:
    """Codes of all regions in every window, (n, T, N d)."""
    fc = sliding_fc(ts, window, stride)[0]
    return encoder.eval()(fc, sparsify_fc(fc)).flatten(2)


def window_fc_rows(ts: Tensor, window: int, stride: int) -> Tensor:
    """Raw correlations of every window, (n, T, N (N - 1) / 2)."""
    fc = sliding_fc(ts, window, stride)[0]
    row, column = torch.triu_indices(fc.shape[-1], fc.shape[-1], 1)
    return fc[..., row, column]


def vote(train_x: Tensor, labels: Tensor, test_x: Tensor) -> Tensor:
    """Classes of recordings (m,): a logistic regression on windows (n, T, d), scores averaged."""
    windows = labels.repeat_interleave(train_x.shape[1])
    probe = linear_probe(train_x.flatten(0, 1), windows, train_x.flatten(0, 1), windows)
    scores = test_x @ probe.weights.to(test_x).T + probe.bias.to(test_x)
    return probe.classes[scores.mean(1).argmax(1)]


def rest_task_rows(
    method: STMAE, untrained: STMAE, bold: FMRISource, *, seed: int, scale: float
) -> Rows:
    """Rest against task, leave one subject out, trained on 2, 4 or 8 of the others."""
    ts = bold.batch(np.arange(len(bold))).mT
    labels, groups = torch.as_tensor(bold.labels), torch.as_tensor(bold.groups)
    nets = {"ST-MAE": method.autoencoder.encoder, "scratch": untrained.autoencoder.encoder}
    features = {
        "raw FC of windows, linear": window_fc_rows(ts, WINDOW, STRIDE),
        "static FC, linear": static_fc(ts)[:, None],
        "untrained codes, linear": codes(nets["scratch"], ts, WINDOW, STRIDE),
        "ST-MAE codes, linear": codes(nets["ST-MAE"], ts, WINDOW, STRIDE),
    }
    tuned = {"from scratch": nets["scratch"], "fine-tuned ST-MAE": nets["ST-MAE"]}
    hits = {name: np.zeros(len(SUBJECTS)) for name in (*features, *tuned)}
    for subject in groups.unique().tolist():
        others = torch.as_tensor(
            np.random.default_rng([seed, subject]).permutation(groups[groups != subject].unique())
        )
        test = groups == subject
        for column, count in enumerate(SUBJECTS):
            fit = torch.isin(groups, others[:count])
            for name, x in features.items():
                found = vote(x[fit], labels[fit], x[test])
                hits[name][column] += int((found == labels[test]).sum())
            for name, encoder in tuned.items():
                made = fine_tune_fc(
                    encoder,
                    ts[fit],
                    labels[fit],
                    window=WINDOW,
                    stride=STRIDE,
                    epochs=max(1, round(scale * EPOCHS)),
                    batch_size=BATCH,
                    seed=seed,
                )
                hits[name][column] += int((made.predict(ts[test]).argmax(1) == labels[test]).sum())
    return {
        f"rest/task: {name}": dict(zip(KEYS, (100 * found / len(ts)).tolist()))
        for name, found in hits.items()
    }
