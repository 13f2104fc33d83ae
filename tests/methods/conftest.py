"""A tiny network and small options for every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.encoders import Encoder, Features
from tacit.methods.base import Batch, Method
from tacit.registry import METHODS

SMALL: dict[str, Any] = {
    "proj_hidden_dim": 16,
    "proj_output_dim": 8,
    "pred_hidden_dim": 12,
    "queue_size": 40,
    "n_prototypes": 6,
}
OWN: dict[str, dict[str, Any]] = {"wmse": {"w_size": 16, "proj_output_dim": 4}}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors here are too small to share between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TinyConv(Encoder):
    """Two convolutions and a mean: any image size."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.in_channels = 10, 3
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 10, 3, 2, 1)
        )

    def features(self, x: Tensor) -> Features:
        return Features(self.layers(x).tanh().mean(dim=(2, 3)))


def make_method(name: str, **options: Any) -> Method:
    """A method with small heads on the tiny network, always with the same weights."""
    cls = METHODS.get(name)
    small = {key: value for key, value in SMALL.items() if key in cls.Config.model_fields}
    torch.manual_seed(0)
    return cls(TinyConv(), cls.Config(**{**small, **OWN.get(name, {}), **options}))


def make_batch(n_views: int = 2, n: int = 32, seed: int = 0) -> Batch:
    """Views of `n` samples: a common image and noise of their own."""
    g = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, 16, 16, generator=g)
    views = [image + 0.5 * torch.randn(image.shape, generator=g) for _ in range(n_views)]
    return Batch(views, torch.arange(n))


def take_step(method: Method, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """One training step as the trainer does it; returns the loss before it."""
    optimizer.zero_grad()
    total = method.training_loss(batch).total
    total.backward()
    method.before_step()
    optimizer.step()
    method.after_step()
    return float(total.detach())


@pytest.fixture(name="make_method")
def _make_method() -> Callable[..., Method]:
    return make_method


@pytest.fixture(name="make_batch")
def _make_batch() -> Callable[..., Batch]:
    return make_batch


@pytest.fixture(name="take_step")
def _take_step() -> Callable[..., float]:
    return take_step
