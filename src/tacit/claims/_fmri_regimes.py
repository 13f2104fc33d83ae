"""Synthetic recordings that switch between states of equal average connectivity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tacit.claims._fmri_reconstruct import pretrain
from tacit.claims._fmri_transfer import codes, static_fc, vote, window_fc_rows
from tacit.claims.base import Rows
from tacit.evaluation import fine_tune_fc

NETWORKS, REGIONS, POINTS = 4, 20, 300
WINDOW, STRIDE = 20, 10
UNLABELLED, LABELLED, TEST = 200, 20, 200
STEPS, EPOCHS, BATCH = 600, 30, 4
ACCURACY = "accuracy (%)"


class Regimes(NamedTuple):
    """Recordings (n, T, N), and whether the time in state 2 is above the median."""

    ts: Tensor
    labels: Tensor


def simulate(count: int, generator: torch.Generator) -> Regimes:
    """Three states of four latent networks; state 2 is the average of states 0 and 1.

    In state 0 the correlation of networks 0 and 1 is 0.8 and that of 2 and 3 is -0.8; in state 1
    the signs are exchanged; in state 2 both are 0, the average of the others: average connectivity
    does not tell how long state 2 lasted. A subject has its own chance of staying in state 2 and
    its own loadings around those of the population.
    """
    covariance = torch.eye(NETWORKS).repeat(3, 1, 1)
    for state, (first, second) in ((0, (0.8, -0.8)), (1, (-0.8, 0.8))):
        covariance[state, [0, 1], [1, 0]] = first
        covariance[state, [2, 3], [3, 2]] = second
    factors = torch.linalg.cholesky(covariance)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    stay = torch.full((count, 3), 0.97)
    stay[:, 2] = uniform(0.9, 0.995)
    states = torch.empty(count, POINTS, dtype=torch.long)
    now = torch.randint(3, (count,), generator=generator)
    for point in range(POINTS):
        states[:, point] = now
        move = torch.rand(count, generator=generator) > stay.gather(1, now[:, None])[:, 0]
        step = 1 + torch.randint(2, (count,), generator=generator)
        now = torch.where(move, (now + step) % 3, now)
    latent = torch.randn(count, POINTS, NETWORKS, 1, generator=generator)
    latent = (factors[states] @ latent)[..., 0]
    population = torch.eye(NETWORKS).repeat(REGIONS // NETWORKS, 1)
    loadings = population + 0.2 * torch.randn(count, REGIONS, NETWORKS, generator=generator)
    noise = torch.randn(count, POINTS, REGIONS, generator=generator)
    ts = latent @ loadings.mT + 0.5 * noise
    share = (states == 2).float().mean(1)
    return Regimes(ts, (share > share.median()).long())


def regime_rows(seed: int, scale: float) -> Rows:
    """Accuracy from 20 labelled recordings, with and without 200 unlabelled ones."""
    generator = torch.Generator().manual_seed(seed)
    data = simulate(UNLABELLED + TEST, generator)
    few = slice(0, LABELLED)
    ts, labels = data.ts[few], data.labels[few]
    test, truth = data.ts[UNLABELLED:], data.labels[UNLABELLED:]
    nets = {}
    for name, steps in (("untrained", 0), ("ST-MAE", max(1, round(scale * STEPS)))):
        method = pretrain(
            data.ts[:UNLABELLED].mT, window=WINDOW, stride=STRIDE, steps=steps, seed=seed, dim=32
        )
        nets[name] = method.autoencoder.encoder
    rows: Rows = {}

    def linear(name: str, x: Tensor, other: Tensor) -> None:
        right = (vote(x, labels, other) == truth).float().mean()
        rows[f"regimes: {name}, linear"] = {ACCURACY: 100 * float(right)}

    linear("static FC", static_fc(ts)[:, None], static_fc(test)[:, None])
    linear("raw FC of windows", *(window_fc_rows(part, WINDOW, STRIDE) for part in (ts, test)))
    for name, encoder in nets.items():
        linear(f"{name} codes", *(codes(encoder, part, WINDOW, STRIDE) for part in (ts, test)))
    for name, key in (("from scratch", "untrained"), ("fine-tuned ST-MAE", "ST-MAE")):
        made = fine_tune_fc(
            nets[key],
            ts,
            labels,
            window=WINDOW,
            stride=STRIDE,
            epochs=max(1, round(scale * EPOCHS)),
            batch_size=BATCH,
            seed=seed,
        )
        right = (made.predict(test).argmax(1) == truth).float().mean()
        rows[f"regimes: {name}"] = {ACCURACY: 100 * float(right)}
    return rows
