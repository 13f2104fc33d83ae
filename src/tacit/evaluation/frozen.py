"""A linear layer trained by Adam on a frozen encoder, and the scores of ordered classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .inputs import check_finite, check_labels, check_matrix

Encode = Callable[[Tensor], Tensor]


class FrozenProbe(NamedTuple):
    """Class scores of the test samples after the last epoch, and the truth."""

    logits: Float[Tensor, "n classes"]
    truth: Int[Tensor, " n"]

    @property
    def predicted(self) -> Int[Tensor, " n"]:
        """The class with the highest score."""
        return self.logits.argmax(1)

    def classification(self) -> dict[str, float]:
        """Accuracy, macro and weighted F1, Cohen's kappa, and one-vs-one AUC (macro mean).

        F1 over the classes that are in the truth or predicted. The AUC is over the classes in the
        truth, by the probabilities renormalised to them; NaN for a single class.
        """
        from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

        truth, predicted = self.truth.numpy(), self.predicted.numpy()
        present = np.unique(truth)
        auc = math.nan
        if len(present) > 1:
            probabilities = self.logits[:, present].double().softmax(1).numpy()
            scores = probabilities[:, 1] if len(present) == 2 else probabilities
            auc = float(roc_auc_score(truth, scores, multi_class="ovo", labels=present))
        return {
            "accuracy": float((truth == predicted).mean()),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "weighted_f1": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
            "kappa": float(cohen_kappa_score(truth, predicted)) if len(present) > 1 else math.nan,
            "auc": auc,
        }

    def regression(self) -> dict[str, float]:
        """The class as a number (heart rate, steps): errors of the predicted class."""
        return regression_scores(self.predicted, self.truth)


def regression_scores(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """MAE, RMSE, MAPE (in percent, over non-zero truths) and Pearson's r of two vectors.

    Pearson's r is NaN where one of them is constant, MAPE where every truth is zero.

    >>> scores = regression_scores(torch.tensor([2, 4, 7]), torch.tensor([1, 4, 10]))
    >>> {name: round(value, 3) for name, value in scores.items()}
    {'mae': 1.333, 'rmse': 1.826, 'mape': 43.333, 'pearson': 0.997}
    """
    a, b = predicted.double(), truth.double()
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(
            f"expected two vectors of one length >= 1, got {tuple(a.shape)}, {tuple(b.shape)}"
        )
    error, counted = (a - b).abs(), b != 0
    da, db = a - a.mean(), b - b.mean()
    spread = float(da.norm() * db.norm())
    return {
        "mae": float(error.mean()),
        "rmse": float(error.square().mean().sqrt()),
        "mape": float(100 * (error[counted] / b[counted].abs()).mean()),
        "pearson": float(da @ db) / spread if spread > 0 else math.nan,
    }


def frozen_linear_probe(
    encode: Encode,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    lr: float = 0.03,
    epochs: int = 256,
    *,
    n_classes: int | None = None,
    batch_size: int = 1024,
    balanced: bool = False,
    seed: int = 0,
) -> FrozenProbe:
    """One linear layer on features of a frozen encoder, by Adam, as Frame Projections evaluates.

    Weights from N(0, 0.01^2), bias 0, cross-entropy, Adam without decay, the rate falling to zero
    over the epochs by a cosine (changed once an epoch); the layer of the last epoch is used. The
    encoder is frozen, so every sample is encoded once.

    Parameters
    ----------
    encode : (n, ...) to features (n, d); a module, or a method of one, must be in eval mode.
    train, test : pairs (x, y) of samples and integer labels >= 0.
    lr, epochs : of Adam; the published number of epochs is that of the pre-training.
    n_classes : width of the layer; by default what the training labels need (every class of
        `test` must then be below it).
    batch_size : rows a step; all of them where there are fewer.
    balanced : draw rows so that every class is equally likely, as for the ECG sets.
    seed : of weights and order.

    Raises
    ------
    ValueError : the encoder is in training mode (dropout and batch statistics would then decide
        the result), labels do not fit, or features are not finite.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, official code.

    Examples
    --------
    >>> x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> probe = frozen_linear_probe(lambda x: x, (x[:40], y[:40]), (x[40:], y[40:]), epochs=50)
    >>> probe.classification()["accuracy"] > 0.9
    True
    """
    owner = getattr(encode, "__self__", encode)
    if isinstance(owner, nn.Module) and owner.training:
        raise ValueError(
            "the encoder is in training mode: dropout and batch statistics would decide the "
            "result. Call .eval() on it first."
        )
    if epochs < 1 or batch_size < 1 or not lr > 0:
        raise ValueError(f"epochs, batch_size, lr must be > 0: {epochs}, {batch_size}, {lr}")
    (x, y), (test_x, truth) = _encoded(encode, train, "train"), _encoded(encode, test, "test")
    classes = int(y.max()) + 1 if n_classes is None else n_classes
    for name, labels in (("train", y), ("test", truth)):
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise ValueError(
                f"{name} labels go from {int(labels.min())} to {int(labels.max())}, outside "
                f"[0, {classes}); give n_classes"
            )
    generator = torch.Generator().manual_seed(seed)
    weight = 0.01 * torch.randn(classes, x.shape[1], generator=generator)
    weight = weight.to(x.device).requires_grad_()
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    share = 1 / torch.bincount(y, minlength=classes)[y].double()
    for _ in range(epochs):
        if balanced:
            order = torch.multinomial(share.cpu(), len(x), True, generator=generator)
        else:
            order = torch.randperm(len(x), generator=generator)
        for index in order.to(x.device).split(batch_size):
            loss = F.cross_entropy(F.linear(x[index], weight, bias), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return FrozenProbe(F.linear(test_x, weight, bias).cpu(), truth.cpu())


@torch.no_grad()
def _encoded(encode: Encode, pair: tuple[Any, Any], name: str) -> tuple[Tensor, Tensor]:
    samples, labels = pair
    x = torch.as_tensor(samples)
    features = torch.cat([encode(part) for part in x.split(256)]).float()
    check_matrix(features, f"features of {name}")
    check_finite(features, f"features of {name}")
    return features, check_labels(labels, len(x), f"{name} labels").to(features.device)
