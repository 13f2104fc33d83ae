"""Subsets of CIFAR-10, the network of 0.1 million parameters, and the measurements on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tacit.claims._loop import ViewsFunction, apply
from tacit.data import ImageSource, open_source
from tacit.encoders.base import Encoder, Features
from tacit.errors import DataError
from tacit.evaluation import knn_accuracy, ridge_probe
from tacit.views import EvalView, build_views


class ConvNet(Encoder):
    """3x3 convolutions of 32, 64 and 128 channels with stride 2, batch norm and ReLU; 2x2 means.

    The mean over each quarter of the last map is kept: 4 x 128 = 512 features.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels, self.dim = in_channels, 512
        widths = (in_channels, 32, 64, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        maps = self.layers(x.contiguous(memory_format=torch.channels_last))
        return Features(F.adaptive_avg_pool2d(maps, 2).flatten(1))


@dataclass
class Subset:
    """The first images of a data set: uint8 (N, C, H, W), labels (N,), and what views need."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    mean: list[float]
    std: list[float]

    @property
    def channels(self) -> int:
        return self.train_x.shape[1]

    @property
    def image_size(self) -> int:
        return self.train_x.shape[2]

    def encoder(self) -> ConvNet:
        """A new network for these images."""
        return ConvNet(self.channels)

    def views(self, preset: str, n_views: int = 2) -> ViewsFunction:
        """Random views of uint8 images, by the preset of a paper."""
        return build_views(
            preset,
            image_size=self.image_size,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
            n_views=n_views,
        )

    def outputs(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """`function` (a method's `embed` or `project`) of the normalised images, no gradient."""
        view = EvalView(self.image_size, self.mean, self.std)
        return apply(lambda part: function(view(part)), images)

    def accuracies(self, embed: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Percent right on the test images of 20 cosine neighbours and of a ridge classifier."""
        bank, test = self.outputs(embed, self.train_x), self.outputs(embed, self.test_x)
        near = knn_accuracy(bank, self.train_y, test, self.test_y, k=20)
        linear = ridge_probe(bank, self.train_y, test, self.test_y).accuracy
        return {"20-NN accuracy (%)": 100 * near, "linear accuracy (%)": 100 * linear}


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny tensors lose time with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_subset(spec: str | None, n_train: int, n_test: int) -> Subset:
    """The first `n_train` and `n_test` images of the two splits; all where there are fewer.

    Parameters
    ----------
    spec : of labelled images of one square size, for instance "cifar10:PATH"; None: "cifar10".

    Raises
    ------
    DataError
        The data has no labels.
    """
    spec = spec or "cifar10"
    train = open_source(spec, split="train", progress=False)
    test = open_source(spec, split="test", progress=False)
    if not (isinstance(train, ImageSource) and isinstance(test, ImageSource)):
        raise DataError(f"'{spec}' is {train.modality} data, and this claim is about images.")
    mean, std = train.statistics()
    return Subset(*_first(train, n_train), *_first(test, n_test), mean, std)


def _first(source: ImageSource, count: int) -> tuple[Tensor, Tensor]:
    if source.labels is None:
        raise DataError(f"{source.name} has no labels, and this claim measures accuracy.")
    index = np.arange(min(count, len(source)))
    return source.batch(index), torch.from_numpy(source.labels[index])
