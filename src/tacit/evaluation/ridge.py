"""The ridge probe: least squares on one-hot targets, in closed form and one pass."""

from __future__ import annotations

import torch

from .features import StandardFeatures
from .inputs import Labels, OtherLabels, OtherRows, Rows
from .probe_result import ProbeResult, check_probe, encode_labels, score_probe


@torch.no_grad()
def ridge_probe(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows,
    test_y: OtherLabels,
    *,
    alpha: float = 1.0,
    standardize: bool = True,
) -> ProbeResult:
    """Accuracy of a ridge classifier: ``argmin_W ||X W - Y||^2 + alpha ||W||^2``, Y one-hot.

    X and Y are centred, so the bias is not penalised. Only the d x d moments are kept: the fastest
    probe for many rows. `ProbeResult.C` is 1 / (2 alpha).

    Parameters
    ----------
    train_x, train_y, test_x, test_y : features (n, d) and (m, d), and integer labels.
    alpha : L2 strength, above 0.
    standardize : subtract the training mean and divide by the training standard deviation.

    >>> import torch
    >>> x, y = torch.eye(3).repeat(20, 1), torch.arange(60) % 3
    >>> ridge_probe(x[:30], y[:30], x[30:], y[30:]).accuracy
    1.0
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, not {alpha}.")
    labels, truth = check_probe(train_x, train_y, test_x, test_y)
    classes, target = encode_labels(labels)
    features = StandardFeatures(train_x, standardize)
    target = target.to(features.device)
    gram = torch.zeros(features.d, features.d, dtype=torch.float64, device=features.device)
    cross = gram.new_zeros(features.d, len(classes))
    total = gram.new_zeros(features.d)
    for start, block in features.blocks():
        x = block.double()
        gram.addmm_(x.T, x)
        total += x.sum(0)
        onehot = torch.nn.functional.one_hot(target[start : start + len(x)], len(classes)).double()
        cross.addmm_(x.T, onehot)
    n = features.n
    share = torch.bincount(target, minlength=len(classes)).double() / n
    gram -= torch.outer(total, total) / n
    gram.diagonal().add_(alpha)
    weight = torch.linalg.solve(gram, cross - torch.outer(total, share)).T
    bias = share - weight @ total / n
    return score_probe(test_x, truth, classes, *features.raw(weight, bias), C=1 / (2 * alpha))
