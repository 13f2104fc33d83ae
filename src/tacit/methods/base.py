"""The contract of a method: a module with a loss, that knows nothing of trainers, files or CLI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from tacit.data import Source
from tacit.encoders import Encoder
from tacit.recipe import Recipe


@dataclass
class Batch:
    """One training batch after the views were made.

    views : list of what the views made, one a view: tensors (N, ...), or batches of graphs; row i
        of all views is the same sample.
    index : (N,) positions of the samples in the data source.
    """

    views: list[Any]
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.views[0])


@dataclass
class Losses:
    """What a method returns: the total that is optimised, and named terms for the log."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Progress(NamedTuple):
    """Where training is: optimiser steps done, epochs begun (from 0), fraction in [0, 1]."""

    step: int = 0
    epoch: int = 0
    fraction: float = 0.0


class Paper(NamedTuple):
    """The source of a method."""

    title: str
    authors: str
    year: int
    url: str


class Method(nn.Module):
    """Base of every pre-training method.

    A method owns the encoder, its heads and its loss; `training_loss` turns a batch of views into
    losses, `after_step` updates what is not trained by gradient (teachers, queues). `progress` is
    kept current by the trainer.

    Parameters
    ----------
    encoder : the network that is pre-trained; evaluation sees its output.
    config : the method's own options.
    """

    paper: ClassVar[Paper]
    modalities: ClassVar[tuple[str, ...]] = ("image", "series")
    uses_labels: ClassVar[bool] = False  # of the training samples, in `prepare`
    n_views: ClassVar[int] = 2
    in_pieces: ClassVar[bool] = True  # the encoder may read a batch in pieces (gradient caching)

    class Config(BaseModel):
        """Options of the method; each field has the paper's default."""

        model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.progress = Progress()

    def training_loss(self, batch: Batch) -> Losses:
        """The loss of one batch of views."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """The space in which the loss acts (projector output): the label-free criteria see it."""
        return self.encoder(x)

    def embed(self, x: Tensor) -> Tensor:
        """What evaluation and users see: the encoder's global feature (N, dim)."""
        return self.encoder(x)

    def prepare(self, source: Source) -> None:
        """Once before training (also before a resumed one): targets taken from the data (optional).

        What is kept here is not state: it is made again from the data.
        """

    def finish(self, batches: Callable[[], Iterator[Batch]]) -> None:
        """Once after training, in evaluation mode (optional); `batches()` is a pass over the data.

        For parts that are fitted on the frozen encoder. Runs on one process, without collectives.
        """

    def before_step(self) -> None:
        """After the backward pass, before the optimiser: change gradients here (optional)."""

    def after_step(self) -> None:
        """After the optimiser: teachers, queues, closed-form predictors (optional)."""

    def constant_lr_parameters(self) -> list[nn.Parameter]:
        """Parameters whose learning rate is not decayed (SimSiam's predictor); usually none."""
        return []

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        """Optimiser, schedule, views as in the paper; the user's options are laid over it."""
        return Recipe()


def cat_views(module: Callable[[Tensor], Tensor], views: list[Tensor]) -> list[Tensor]:
    """One forward pass a resolution: views of equal shape are concatenated, results split again.

    Batch norm then sees all views of one shape together. Use `[module(v) for v in views]` where a
    paper normalises each view by its own statistics.
    """
    out: list[Tensor | None] = [None] * len(views)
    shapes: dict[torch.Size, list[int]] = {}
    for i, view in enumerate(views):
        shapes.setdefault(view.shape[1:], []).append(i)
    for members in shapes.values():
        parts = module(torch.cat([views[i] for i in members])).chunk(len(members))
        for i, part in zip(members, parts, strict=True):
            out[i] = part
    return out  # type: ignore[return-value]
