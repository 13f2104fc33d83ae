"""Handwritten digits of 8 x 8 pixels (inside scikit-learn): data, network, views, measurements."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.claims._loop import ViewsFunction, apply, build_method
from tacit.encoders.base import Encoder, Features
from tacit.encoders.heads import MLPHead
from tacit.evaluation import knn_accuracy
from tacit.methods.base import Method
from tacit.recipe import OptimizerConfig

ADAM = OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=0.0)

N_TRAIN = 1200


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) in [0, 1] and labels (N,)."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load_digits() -> Digits:
    """1,200 training and 597 test images: one fixed random split of scikit-learn's digits."""
    from sklearn.datasets import load_digits as sklearn_digits

    data = sklearn_digits()
    x = torch.from_numpy(data.images).float()[:, None] / 16
    y = torch.from_numpy(data.target).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    return Digits(x[train], y[train], x[test], y[test])


class MLPEncoder(Encoder):
    """Linear 64-256, batch norm, ReLU, Linear 256-256, batch norm, ReLU, on flattened pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.dim = 1, 256
        self.layers = nn.Sequential(MLPHead((64, 256, 256), last_bn=True), nn.ReLU())

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        return Features(self.layers(x.flatten(1)))


def digits_method(name: str, *, width: int, seed: int, **options: Any) -> Method:
    """A method on the MLP with the projector 256-128-`width` (batch norm and ReLU between).

    All methods get this projector instead of their own, so that only the losses differ.
    """
    method = build_method(name, MLPEncoder, seed=seed, options=options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method.projector = MLPHead((256, 128, width))
    return method


def geometric_views(n_views: int, *, noise: float) -> ViewsFunction:
    """Random affine maps and pixel noise, each view and sample with its own draws.

    Rotation up to 0.35 rad, scale up to 25 % and shift up to 25 % of half the image's width (1
    pixel) of the sampling grid, all uniform; bilinear with black outside; then Gaussian noise of
    standard deviation `noise`.
    """

    def one(x: Tensor, generator: torch.Generator) -> Tensor:
        def symmetric(limit: float, *shape: int) -> Tensor:
            return limit * (2 * torch.rand(len(x), *shape, generator=generator) - 1)

        angle, zoom = symmetric(0.35), 1 + symmetric(0.25)
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        shift = symmetric(0.25, 2)  # the sampling grid goes from -1 to 1
        theta = torch.stack(
            [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
        )
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, align_corners=False)
        return moved + noise * torch.randn(x.shape, generator=generator)

    return lambda x, generator: [one(x, generator) for _ in range(n_views)]


def knn_percent(method: Method, digits: Digits) -> float:
    """Accuracy in percent of 5 cosine neighbours on the encoder's output: train bank, test set."""
    train, test = apply(method.embed, digits.train_x), apply(method.embed, digits.test_x)
    return 100 * knn_accuracy(train, digits.train_y, test, digits.test_y, k=5)
