"""The linear probe: multinomial logistic regression on frozen features, by L-BFGS or by SGD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .features import StandardFeatures
from .inputs import Labels, OtherLabels, OtherRows, Rows, select_rows
from .probe_result import ProbeResult, check_probe, encode_labels, score_probe


@torch.no_grad()
def _fit_lbfgs(
    features: StandardFeatures, target: Tensor, classes: int, C: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """Minimise mean cross-entropy + ||W||^2 / (2 C n); the bias is not penalised."""
    n, l2 = features.n, 1 / (C * features.n)
    weight = torch.zeros(classes, features.d, dtype=torch.float64, device=features.device)
    bias = torch.zeros(classes, dtype=torch.float64, device=features.device)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iter,
        tolerance_grad=1e-6 if features.dtype == torch.float32 else 1e-9,
        tolerance_change=1e-12,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss = 0.5 * l2 * float(weight.square().sum())
        grad_w, grad_b = l2 * weight, torch.zeros_like(bias)
        w, b = weight.to(features.dtype), bias.to(features.dtype)
        for start, x in features.blocks():
            y = target[start : start + len(x)]
            logp = torch.log_softmax(x @ w.T + b, dim=1)
            loss -= float(logp.gather(1, y[:, None]).sum(dtype=torch.float64)) / n
            error = logp.exp()
            error[torch.arange(len(y), device=y.device), y] -= 1
            grad_w += (error.T @ x).double() / n
            grad_b += error.sum(0, dtype=torch.float64) / n
        weight.grad, bias.grad = grad_w, grad_b
        return loss

    optimizer.step(closure)
    return weight, bias


@torch.no_grad()
def _fit_sgd(
    features: StandardFeatures,
    target: Tensor,
    classes: int,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    schedule: str,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Zero-initialised softmax regression, SGD with momentum 0.9, rate falling to zero."""
    weight = torch.zeros(classes, features.d, dtype=features.dtype, device=features.device)
    bias = torch.zeros_like(weight[:, 0])
    optimizer = torch.optim.SGD([weight, bias], lr=lr, momentum=0.9, weight_decay=weight_decay)
    per_epoch = -(-features.n // batch_size)
    steps = epochs * per_epoch

    def factor(step: int) -> float:
        done = step / steps
        return 1 - done if schedule == "linear" else 0.5 * (1 + float(np.cos(np.pi * done)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in range(epochs):
        for index in torch.randperm(features.n, generator=generator).split(batch_size):
            x, y = features.take(index), target[index]
            error = torch.softmax(x @ weight.T + bias, dim=1)
            error[torch.arange(len(y), device=y.device), y] -= 1
            weight.grad, bias.grad = error.T @ x / len(y), error.mean(0)
            optimizer.step()
            scheduler.step()
    return weight, bias


def linear_probe(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows,
    test_y: OtherLabels,
    *,
    method: Literal["lbfgs", "sgd"] = "lbfgs",
    C: float | Sequence[float] = 1.0,
    standardize: bool = True,
    max_iter: int = 200,
    epochs: int = 20,
    batch_size: int = 1024,
    lr: float = 0.1,
    weight_decay: float = 1e-4,
    schedule: Literal["linear", "cosine"] = "linear",
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of a multinomial logistic regression on frozen features.

    ``method="lbfgs"`` minimises ``C sum_i CE_i + ||W||^2 / 2``, scikit-learn's objective, and has
    one answer. ``method="sgd"`` is the usual recipe: zero start, momentum 0.9, learning rate
    falling to zero, weight decay. Both go over the rows in blocks, so that 1,000,000 x 512
    features (also a memory map) need bounded memory.

    Parameters
    ----------
    train_x, train_y, test_x, test_y : features (n, d) and (m, d), and integer labels.
    C : inverse L2 strength (lbfgs); of several values the best on a held-out fifth of the training
        rows is taken, and refitted on all of them.
    standardize : subtract the training mean and divide by the training standard deviation.
    max_iter : L-BFGS iterations.
    epochs, batch_size, lr, weight_decay, schedule : of the SGD probe.
    seed : of the held-out split and of the SGD order.

    Raises
    ------
    ValueError : one class only, rows and labels that do not match, NaN rows.

    >>> import torch
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> linear_probe(x[:80], y[:80], x[80:], y[80:]).accuracy > 0.9
    True
    """
    if method not in ("lbfgs", "sgd"):
        raise ValueError(f"method must be 'lbfgs' or 'sgd', not {method!r}.")
    if schedule not in ("linear", "cosine"):
        raise ValueError(f"schedule must be 'linear' or 'cosine', not {schedule!r}.")
    labels, truth = check_probe(train_x, train_y, test_x, test_y)
    classes, target = encode_labels(labels)
    strengths = [float(C)] if isinstance(C, (int, float)) else [float(c) for c in C]
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"C must be positive, not {C}.")
    generator = torch.Generator().manual_seed(seed)
    features = StandardFeatures(train_x, standardize)
    target = target.to(features.device)
    if method == "sgd":
        weight, bias = _fit_sgd(
            features,
            target,
            len(classes),
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            schedule=schedule,
            generator=generator,
        )
        best = float("nan")
    else:
        best = strengths[0]
        if len(strengths) > 1:
            best = _choose_strength(train_x, labels, strengths, standardize, max_iter, generator)
        weight, bias = _fit_lbfgs(features, target, len(classes), best, max_iter)
    return score_probe(test_x, truth, classes, *features.raw(weight, bias), best)


def _choose_strength(
    x: Tensor | np.ndarray,
    labels: Tensor,
    strengths: list[float],
    standardize: bool,
    max_iter: int,
    generator: torch.Generator,
) -> float:
    """The strength with the best accuracy on a held-out fifth; the smallest of equals."""
    order = torch.randperm(len(labels), generator=generator)
    held = order[: max(1, len(order) // 5)].sort().values
    fit = order[len(held) :].sort().values
    rows_fit, rows_held = select_rows(x, fit), select_rows(x, held)
    classes, target = encode_labels(labels[fit])
    if len(classes) < 2:
        raise ValueError("the held-out split leaves one class to fit: pass a single C.")
    features = StandardFeatures(rows_fit, standardize)
    target = target.to(features.device)
    scores = []
    for strength in sorted(strengths):
        weight, bias = _fit_lbfgs(features, target, len(classes), strength, max_iter)
        fitted = features.raw(weight, bias)
        scores.append(score_probe(rows_held, labels[held], classes, *fitted, strength).accuracy)
    return sorted(strengths)[int(np.argmax(scores))]
