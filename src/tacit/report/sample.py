"""Embeddings of a sample of the data, for everything that the page shows of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tacit.data import Source
from tacit.embedding import embed_chunks
from tacit.errors import DataError, TacitError
from tacit.methods.base import Method
from tacit.registry import METHODS
from tacit.training.build import build_method
from tacit.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from tacit.run import Run

SAMPLES = 1500
SECONDS = 30.0  # a large network embeds as many of the samples as it can in this time


class Sample(NamedTuple):
    """Embeddings (n, d) of random samples of a source; labels (n,) where it has them."""

    source: Source
    split: str
    positions: np.ndarray
    vectors: Tensor
    labels: np.ndarray | None
    names: list[str]


def embed_sample(run: Run) -> Sample:
    """Embed up to 1500 random samples of the test split, or of everything where there is none."""
    split = "test"
    try:
        source = run.open(split="test")
    except DataError:
        split, source = "all", run.open()
    order = np.random.default_rng(0).permutation(len(source))[:SAMPLES]
    vectors = _embed(run.encoder, run, source, order)
    if len(vectors) < 3:
        raise DataError(f"'{source.name}' has only {len(vectors)} samples to look at.")
    order = order[: len(vectors)]
    labels = source.labels
    if labels is None or (labels < 0).all():
        return Sample(source, split, order, vectors, None, [])
    names = source.class_names or [str(i) for i in range(int(labels.max()) + 1)]
    return Sample(source, split, order, vectors, labels[order], names)


def _embed(network: nn.Module, run: Run, source: Source, order: np.ndarray) -> Tensor:
    chunks, start = [], time.monotonic()
    for chunk in embed_chunks(network, run.view, source, positions=order, batch_size=128):
        chunks.append(torch.from_numpy(chunk))
        if time.monotonic() - start > SECONDS:
            break
    return torch.cat(chunks)


class _Projector(nn.Module):
    """The space in which the loss acts, as a network."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        return self.method.project(x)


def project_sample(run: Run, sample: Sample) -> Tensor:
    """Projections (n, d) of the same samples, from the checkpoint.

    Raises
    ------
    TacitError : there is no checkpoint, or it is of another network.
    """
    path = run.folder.checkpoint_path
    if not path.is_file() or run.recipe.encoder == "custom":
        raise TacitError("there is no checkpoint to take the projector from")
    method = build_method(METHODS.get(run.recipe.method), run.recipe, run.input_spec)
    method.prepare(sample.source)
    state = load_checkpoint(path)["state_dict"]
    prefix = "method."
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    method.load_state_dict(own)
    return _embed(_Projector(method), run, sample.source, sample.positions)
