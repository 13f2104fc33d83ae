"""What a linear probe returns, and the checks and scores that all probes share."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .inputs import Rows, check_finite, check_labels, check_matrix, check_same_width, iter_blocks


class ProbeResult(NamedTuple):
    """A linear probe and how well it does on the test rows, shares in [0, 1].

    `top5` counts a row as right where its class is among the five best (all, with fewer classes);
    `per_class` is the recall of each of `classes`, NaN for those without a test row;
    `weights` (classes, d) and `bias` act on raw features; `C` is the inverse L2 strength used.
    """

    accuracy: float
    top5: float
    balanced_accuracy: float
    per_class: Float[Tensor, " classes"]
    classes: Int[Tensor, " classes"]
    weights: Float[Tensor, "classes d"]
    bias: Float[Tensor, " classes"]
    C: float

    def predict(self, x: Rows) -> Int[Tensor, " n"]:
        """Predicted labels of the rows of `x` (n, d)."""
        dtype = self.weights.dtype
        best = [(b @ self.weights.T + self.bias).argmax(1) for _, b in iter_blocks(x, dtype)]
        return self.classes[torch.cat(best).cpu()]


def check_probe(
    train_x: Tensor | np.ndarray,
    train_y: Tensor | np.ndarray,
    test_x: Tensor | np.ndarray,
    test_y: Tensor | np.ndarray,
) -> tuple[Tensor, Tensor]:
    for x, name in ((train_x, "train_x"), (test_x, "test_x")):
        check_matrix(x, name)
    check_same_width(train_x, test_x, "train_x", "test_x")
    labels = check_labels(train_y, train_x.shape[0], "train_y")
    truth = check_labels(test_y, test_x.shape[0], "test_y")
    if len(labels.unique()) < 2:
        raise ValueError(f"train_y holds one class only ({int(labels[0])}): a probe needs two.")
    check_finite(test_x, "test_x")
    unseen = sorted(set(truth.unique().tolist()) - set(labels.unique().tolist()))
    if unseen:
        warnings.warn(
            f"classes {unseen} are in test_y but not in train_y: their rows count as errors.",
            stacklevel=3,
        )
    return labels, truth


@torch.no_grad()
def score_probe(
    test_x: Tensor | np.ndarray,
    truth: Tensor,
    classes: Tensor,
    weights: Tensor,
    bias: Tensor,
    C: float,
) -> ProbeResult:
    right, top5 = [], []
    for start, block in iter_blocks(test_x, weights.dtype):
        scores = block.to(weights) @ weights.T + bias
        ranked = classes[scores.topk(min(5, len(classes)), dim=1).indices.cpu()]
        match = ranked == truth[start : start + len(block), None]
        right.append(match[:, 0])
        top5.append(match.any(1))
    correct, five = torch.cat(right).double(), torch.cat(top5).double()
    per_class = torch.stack([correct[truth == c].mean() for c in classes])
    present = torch.stack([correct[truth == c].mean() for c in truth.unique()])
    return ProbeResult(
        float(correct.mean()),
        float(five.mean()),
        float(present.mean()),
        per_class,
        classes,
        weights,
        bias,
        C,
    )


def encode_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of any integer value -> (classes, index of each row's class)."""
    classes, target = labels.unique(return_inverse=True)
    return classes, target
