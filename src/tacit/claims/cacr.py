"""CACR: weighting near negatives makes repulsion spread points evenly."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tacit.claims._cifar import Subset, load_subset, one_thread
from tacit.claims._loop import build_method, train
from tacit.claims.base import Check, Claim, Rows
from tacit.data.imbalance import imbalanced_indices
from tacit.evaluation import knn_classify, ridge_probe
from tacit.losses import cacr_loss, cacr_repulsion
from tacit.methods.base import Method
from tacit.methods.contrastive.cacr import CACR
from tacit.recipe import OptimizerConfig

POINTS, DIMENSIONS, REPULSION_STEPS = 16, 3, 1500
T_NEG = (0.0, 0.5, 0.9, 2.0, 5.0)

POOL, BANK, IMAGES, N_TEST = 11_000, 5000, 6000, 2000
BATCH, EPOCHS, N_VIEWS = 128, 4, 3
ADAM = OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=0.0)
FULL, UNIFORM, NT_XENT = "CACR, t- 0.9", "uniform weights", "NT-Xent"
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    FULL: ("cacr", {"t_neg": 0.9}),
    UNIFORM: ("cacr", {"choice": "none"}),
    "only repulsion weighted": ("cacr", {"t_neg": 0.9, "choice": "without_w1"}),
    NT_XENT: ("simclr", {"temperature": 0.2}),
}


def _setting(t_neg: float) -> str:
    return f"repulsion alone, t- {t_neg:g}"


def start_points(seed: int) -> Tensor:
    """16 random unit vectors in 3 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(POINTS, DIMENSIONS, generator=generator), dim=1)


def repelled(t_neg: float, start: Tensor, steps: int) -> Tensor:
    """Unit vectors that minimise CACR's repulsion of themselves, from `start`."""
    x = start.clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=0.05)
    for _ in range(steps):
        adam.zero_grad()
        unit = F.normalize(x, dim=1)
        cacr_repulsion([unit, unit], t_neg=t_neg).backward()
        adam.step()
        with torch.no_grad():
            x.copy_(F.normalize(x, dim=1))
    return x.detach()


def repulsion(t_neg: float, seed: int, steps: int) -> dict[str, float]:
    """How evenly the minimum spreads its points, and how even the weights were at the start."""
    start = start_points(seed)
    weights = cacr_loss([start, start], t_neg=t_neg, return_weights=True).w_neg
    end = repelled(t_neg, start, steps)
    return {
        "smallest distance": float(torch.pdist(end).min()),
        "smallest singular value": float(torch.linalg.svdvals(end)[-1]),
        "entropy of w- at the start": float(torch.special.entr(weights).sum(-1).mean()),
    }


def imbalanced_images(data: Subset) -> tuple[Tensor, Subset]:
    """Images to train on, and the data with only the balanced bank left for the classifiers.

    Of the first 11/16 of the training images class i keeps the share (i + 1) / 10.
    """
    cut = len(data.train_x) * POOL // (POOL + BANK)
    kept = torch.from_numpy(imbalanced_indices(data.train_y[:cut], "linear", seed=2021))
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(2021))
    images = data.train_x[kept[order[:IMAGES]]]
    return images, replace(data, train_x=data.train_x[cut:], train_y=data.train_y[cut:])


def balanced_accuracies(method: Method, data: Subset) -> dict[str, float]:
    """Mean over classes of the percent right, 20 neighbours and a ridge classifier."""
    bank, test = data.outputs(method.embed, data.train_x), data.outputs(method.embed, data.test_x)
    right = knn_classify(bank, data.train_y, test, k=20) == data.test_y
    recall = [right[data.test_y == label].double().mean() for label in data.test_y.unique()]
    linear = ridge_probe(bank, data.train_y, test, data.test_y).balanced_accuracy
    return {
        "20-NN accuracy (%)": 100 * float(torch.stack(recall).mean()),
        "linear accuracy (%)": 100 * linear,
    }


class CACRClaim(Claim):
    """CACR's weighted repulsion against the unweighted one; both and NT-Xent on imbalanced data."""

    paper = CACR.paper
    statement = (
        "Repulsion that weights near negatives more spreads points evenly over the sphere; with "
        "equal weights it does not. (The gain in accuracy on imbalanced data is information only.)"
    )
    protocol = (
        "Mechanism: the repulsion alone is minimised over 16 free unit vectors in 3 dimensions "
        "that are both views, from random starts, Adam 0.05, 1,500 steps, normalised every step; "
        "smallest distance of two points, smallest singular value (sqrt(16/3) = 2.309 is "
        "isotropic), and the mean entropy of the weights of the starting points. For information: "
        "CIFAR-10 with imbalanced classes, of class i the share (i + 1)/10, 6,000 images out of "
        "the first 11,000; convolutions of 32, 64 and 128 channels with stride 2, features of "
        "2 x 2 quarters, projector 512-512-64 for all; three of CACR's views, 128 images a step, "
        "Adam 1e-3, 4 epochs (to save time); t+ 1; NT-Xent with all positives at temperature 0.2. "
        "Balanced accuracy on the first 2,000 test images of 20 nearest neighbours and of a ridge "
        "classifier on the encoder's output, with 5,000 other, balanced training images as bank."
    )
    data = "cifar10"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        steps = max(1, round(scale * REPULSION_STEPS))
        with one_thread():
            rows = {_setting(t): repulsion(t, seed, steps) for t in T_NEG}
        images, subset = imbalanced_images(load_subset(data or self.data, POOL + BANK, N_TEST))
        for setting, (name, options) in SETTINGS.items():
            options = {"proj_hidden_dim": 512, "proj_output_dim": 64, **options}
            method = build_method(name, subset.encoder, seed=seed, options=options)
            train(
                method,
                subset.views("cacr", N_VIEWS),
                images,
                optimizer=ADAM,
                batch_size=BATCH,
                steps=max(1, round(scale * EPOCHS * (len(images) // BATCH))),
                seed=seed,
            )
            rows[setting] = balanced_accuracies(method, subset)
        return rows

    def checks(self, rows: Rows) -> list[Check]:
        spread = [rows[_setting(t)] for t in T_NEG]
        distance = [row["smallest distance"] for row in spread]
        entropy = [row["entropy of w- at the start"] for row in spread]
        isotropic = math.sqrt(POINTS / DIMENSIONS)
        singular = [row["smallest singular value"] for row in spread]
        near = {setting: rows[setting]["20-NN accuracy (%)"] for setting in SETTINGS}
        linear = {setting: rows[setting]["linear accuracy (%)"] for setting in SETTINGS}
        return [
            Check(
                "weighted repulsion (t- 0.5 to 5) ends with every distance above 0.75",
                min(distance[1:]) > 0.75,
            ),
            Check("unweighted repulsion ends with two points closer than 0.5", distance[0] < 0.5),
            Check(
                "entropy of the weights falls as t- grows",
                all(a > b for a, b in pairwise(entropy)),
            ),
            Check(
                "weighted repulsion ends isotropic (smallest singular value within 1 %)",
                min(singular[1:]) > 0.99 * isotropic,
                decisive=False,
            ),
            Check(
                "imbalanced CIFAR-10: uniform weights have the lowest 20-NN and linear accuracy",
                near[UNIFORM] == min(near.values()) and linear[UNIFORM] == min(linear.values()),
                decisive=False,
            ),
            Check(
                "imbalanced CIFAR-10: 20-NN accuracy of CACR is at least that of NT-Xent",
                near[FULL] >= near[NT_XENT],
                decisive=False,
            ),
        ]
