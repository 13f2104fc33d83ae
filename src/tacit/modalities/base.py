"""The contract of a modality: how its data becomes views, and its networks are built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from torch import nn

from tacit.data import Source
from tacit.encoders.base import Encoder
from tacit.recipe import Recipe
from tacit.seeds import seed_of, split_reservoir

LEAST_HELD_OUT = 32  # fewer samples say too little of a representation


def grouped_reservoir(source: Source, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of the groups (of the samples, without groups) held out, if that is 32 samples.

    In smaller data every sample counts for training, and the monitor looks at those.
    """
    everything = np.arange(len(source))
    groups = everything if source.groups is None else source.groups
    names = np.random.default_rng(seed_of(recipe.seed, 7)).permutation(np.unique(groups))
    held = np.isin(groups, names[: len(names) // 10])
    if held.sum() < LEAST_HELD_OUT:
        return everything, everything[: recipe.monitor.samples]
    return np.flatnonzero(~held), np.flatnonzero(held)[: recipe.monitor.samples]


class Modality(ABC):
    """What training, evaluation and the run folder need to know of one kind of data.

    `spec` below is what `input_spec` made of the data: JSON values that say what the encoder reads
    (sizes, statistics). It is kept in `encoder.json`, so that a run can be used without its data.
    """

    name: ClassVar[str]
    default_method: ClassVar[str]  # where the user names none
    unused: ClassVar[tuple[str, ...]] = ()  # recipe fields that mean nothing here

    def default_recipe(self, data: str) -> Recipe | None:
        """The recipe where the user names no method; None: the default method's own."""
        return None

    def method_recipe(self, method: Any, data: str) -> Recipe:
        """A method's own recipe; a paper that gives one for this very data set comes first."""
        recipe: Recipe = method.default_recipe(self.name)
        return self.adapt(recipe) if "image" in method.modalities else recipe

    def adapt(self, recipe: Recipe) -> Recipe:
        """A method's recipe for images made fit for this modality: its views and encoder."""
        return recipe

    @abstractmethod
    def complete(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        """Recipe fields that the data decides where the user did not: encoder, sizes ..."""

    @abstractmethod
    def input_spec(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        """What the encoder reads, as JSON values."""

    @abstractmethod
    def check_encoder(self, name: str) -> None:
        """Refuse, with a suggestion, a name that `build_encoder` does not know."""

    @abstractmethod
    def build_encoder(
        self, name: str | nn.Module, spec: dict[str, Any], options: dict[str, Any]
    ) -> Encoder:
        """A network for such inputs, by name or around the user's own module."""

    @abstractmethod
    def training_views(self, recipe: Recipe, spec: dict[str, Any]) -> nn.Module:
        """Module (raw batch, generator) -> list of views."""

    @abstractmethod
    def eval_view(self, spec: dict[str, Any]) -> nn.Module:
        """Deterministic module raw batch -> encoder input."""

    @abstractmethod
    def check(self, source: Source, spec: dict[str, Any], where: str) -> None:
        """Refuse data that an encoder of `spec` cannot read.

        Raises
        ------
        DataError : in words, with `where` the encoder is from.
        """

    def converted(self, source: Source, spec: dict[str, Any]) -> Source:
        """The same samples as an encoder of `spec` reads them, where that is without a doubt."""
        return source

    def reservoir(self, source: Source, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """(training, held-out) positions; the monitor looks at the held-out ones."""
        return split_reservoir(len(source), recipe.monitor.samples, recipe.seed)

    @abstractmethod
    def raw_features(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """(n, d) features without any network: the "raw" row of an evaluation."""
