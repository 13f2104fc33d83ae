"""Mixed Barlow Twins: the embedding of a mixture becomes the mixture of embeddings."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
from tacit.evaluation import rankme
from tacit.methods.base import Method
from tacit.methods.redundancy.mix_bt import MixedBarlowTwins

BATCH = 64


class Run(NamedTuple):
    """One setting of the experiment."""

    reg_weight: float
    n_images: int = 1200
    steps: int = 800

    @property
    def setting(self) -> str:
        """The name of the row."""
        plain = " (plain Barlow Twins)" if self.reg_weight == 0 else ""
        return f"{self.n_images} images, lambda_reg {self.reg_weight:g}{plain}"


MECHANISM = (Run(0.0), Run(1.0), Run(4.0))
OVERFITTING = (Run(0.0, 256, 4000), Run(4.0, 256, 4000))


def midpoint_errors(method: Method, images: Tensor, seed: int) -> tuple[float, float]:
    """How far the embedding of the mean of two images is from the mean of their embeddings.

    Embeddings are standardised by the mean and standard deviation of `images`, which are paired
    at random. Returns the mean cosine of the two, and the mean squared error divided by the mean
    squared length of the mean of the embeddings.
    """
    partner = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    z = apply(method.project, images)
    std, mean = torch.std_mean(z, dim=0)
    mixed = (apply(method.project, (images + images[partner]) / 2) - mean) / std
    z = (z - mean) / std
    target = (z + z[partner]) / 2
    cosine = F.cosine_similarity(mixed, target).mean()
    return float(cosine), float((mixed - target).square().sum() / target.square().sum())


class MixedBarlowTwinsClaim(Claim):
    """Mixed Barlow Twins against the same network and budget with the mixed term switched off."""

    paper = MixedBarlowTwins.paper
    statement = (
        "The mixed term makes the embedding of a mixture of two inputs the mixture of their "
        "embeddings: the mechanism by which it is said to guard against overfitting. (The gain in "
        "accuracy needs long training on real images; here it is information only.)"
    )
    protocol = (
        "scikit-learn digits (1,200 random images for training, the other 597 for testing); MLP "
        "64-256-256 with the projector 256-128-256; two views with random rotation, scale, shift "
        "(1 pixel) and noise 0.1; lambda_bt 1/128, no L2 normalisation, 64 samples a step, Adam "
        "1e-3, 800 steps. Test images are paired at random; the standardised embedding of the "
        "mean of two images is compared with the mean of their embeddings (cosine and relative "
        "squared error). With lambda_reg 0 the loss and its gradient are those of Barlow Twins; "
        "batch norm sees the mixed images in every setting. For information: 4,000 steps on 256 "
        "of the images only, to see whether accuracy falls after its best. Accuracy of 5 nearest "
        "neighbours on the encoder's output (bank: the images trained on), at the end and looked "
        "at ten times on the way; RankMe of the embeddings of the test images."
    )

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        digits = load_digits()
        return {run.setting: self._one(run, seed, scale, digits) for run in MECHANISM + OVERFITTING}

    @staticmethod
    def _one(run: Run, seed: int, scale: float, digits: Digits) -> dict[str, float]:
        digits = digits._replace(
            train_x=digits.train_x[: run.n_images], train_y=digits.train_y[: run.n_images]
        )
        method = digits_method(
            "mix-bt",
            width=256,
            seed=seed,
            lambda_bt=1 / 128,
            lambda_reg=run.reg_weight,
            l2_normalize=False,
        )
        accuracies: list[float] = []
        train(
            method,
            geometric_views(2, noise=0.1),
            digits.train_x,
            optimizer=ADAM,
            batch_size=BATCH,
            steps=max(1, round(scale * run.steps)),
            seed=seed,
            watch=lambda step: accuracies.append(knn_percent(method, digits)),
        )
        cosine, error = midpoint_errors(method, digits.test_x, seed)
        return {
            "cosine": cosine,
            "relative squared error": error,
            "5-NN accuracy (%)": accuracies[-1],
            "fall from its best": max(accuracies) - accuracies[-1],
            "RankMe": rankme(apply(method.project, digits.test_x)),
        }

    def checks(self, rows: Rows) -> list[Check]:
        def of(runs: tuple[Run, ...], metric: str) -> list[float]:
            return [rows[run.setting][metric] for run in runs]

        cosine, error = of(MECHANISM, "cosine"), of(MECHANISM, "relative squared error")
        accuracy = of(MECHANISM, "5-NN accuracy (%)")
        fall, final = of(OVERFITTING, "fall from its best"), of(OVERFITTING, "5-NN accuracy (%)")
        return [
            Check(
                "cosine with lambda_reg 4 is more than 0.07 above that of plain Barlow Twins",
                cosine[2] > cosine[0] + 0.07,
            ),
            Check("cosine rises with lambda_reg 0, 1, 4", cosine[0] < cosine[1] < cosine[2]),
            Check(
                "relative squared error falls with lambda_reg 0, 1, 4",
                error[0] > error[1] > error[2],
                decisive=False,
            ),
            Check(
                "5-NN accuracy with lambda_reg 4 is at least that of plain Barlow Twins",
                accuracy[2] >= accuracy[0],
                decisive=False,
            ),
            Check(
                "256 images: plain Barlow Twins overfits (falls by more than 1 point)",
                fall[0] > 1,
                decisive=False,
            ),
            Check(
                "256 images: final 5-NN accuracy with lambda_reg 4 is above plain Barlow Twins",
                final[1] > final[0],
                decisive=False,
            ),
        ]
