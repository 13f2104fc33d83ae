"""A sweep as one value that every worker gets: what is trained, what varies, where it is kept."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tacit.api import open_training
from tacit.data import Source
from tacit.data.spec import spec_modality
from tacit.errors import ConfigError, DataError, did_you_mean
from tacit.evaluation.select import DIRECTIONS, TARGETS
from tacit.modalities import modality
from tacit.options import build_recipe
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.sweeps.space import Choice, Space
from tacit.training.build import build_method
from tacit.training.metrics import MONITOR_COLUMNS
from tacit.training.resolve import resolve

FIXED = ("data", "modality", "split", "devices", "nodes", "monitor.criteria")
LEAST_HELD_OUT = 8  # as in training: with fewer samples the monitor does not look


@dataclass(frozen=True)
class Objective:
    """A label-free criterion that trials are judged by."""

    name: str = "rankme"

    def __post_init__(self) -> None:
        known = [name for name in DIRECTIONS if name != "lidar"]
        if self.name == "lidar":
            raise ConfigError(
                "lidar needs several augmentations of a sample, which the monitor does not make. "
                f"Choose one of {', '.join(known)}."
            )
        if self.name not in known:
            raise ConfigError(
                f"There is no criterion '{self.name}'.{did_you_mean(self.name, known)} Known: "
                f"{', '.join(known)}."
            )

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """For Optuna: `maximize`, or `minimize` (a criterion with a target: the distance to it)."""
        return "maximize" if DIRECTIONS[self.name] == "higher" else "minimize"

    def score(self, values: Mapping[str, Any]) -> float:
        """What is optimised, from the monitor's values or a run's status; NaN where it is not."""
        value = float(values.get(self.name, math.nan))
        return abs(value - TARGETS[self.name]) if self.name in TARGETS else value


@dataclass(frozen=True)
class Plan:
    """Everything that a worker needs; `storage` is a URL, `out` an absolute path."""

    method: str | None
    data: Any
    options: dict[str, Any]
    space: Space
    objective: Objective
    trials: int
    out: Path
    storage: str
    study: str
    sampler: str = "tpe"
    seed: int = 0
    prune: bool = True
    heartbeat: int = 15
    report: bool = True
    folder: str = os.curdir  # where relative paths of the data begin

    @property
    def data_name(self) -> str:
        """How the data is called in recipes."""
        return self.data if isinstance(self.data, str) else getattr(self.data, "name", "array")

    def values(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        """The user words of a trial."""
        return {name: self.space[name].decode(value) for name, value in sampled.items()}

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a trial.

        Raises
        ------
        ConfigError : an unknown field or a value out of its range.
        """
        words = {**self.options, **values}
        method = words.pop("method", self.method)
        recipe = build_recipe(method, self.data_name, words, spec_modality(self.data))
        if self.objective.name in MONITOR_COLUMNS:
            return recipe
        return recipe.changed({"monitor": {"criteria": (self.objective.name,)}})

    def definition(self) -> dict[str, Any]:
        """What must be the same when a study is continued, as JSON values."""
        values = {
            "method": self.method,
            "data": self.data_name,
            "options": self.options,
            "vary": {name: str(dimension) for name, dimension in self.space.items()},
            "objective": self.objective.name,
        }
        return dict(json.loads(json.dumps(values, default=str)))

    def check(self) -> None:
        """Try the ends of every range and every choice, with every method, before any training.

        Raises
        ------
        ConfigError, DataError : names the field, and says which value it was.
        """
        for name in FIXED:
            if name in self.space:
                raise ConfigError(f"--vary {name}: trials are compared on one data set and device.")
        for name in self.options.keys() & self.space.keys():
            raise ConfigError(f"'{name}' is both set and varied: leave one out.")
        methods = self.space.get("method")
        base: list[dict[str, Any]] = [{}]
        if isinstance(methods, Choice):
            base = [{"method": value} for value in methods.values]
        first = {name: dimension.corners()[0] for name, dimension in self.space.items()}
        sources: dict[int | None, Source] = {}
        for method in base:
            self._try({**first, **method}, sources)
            for name, dimension in self.space.items():
                for value in dimension.corners()[1:] if name != "method" else ():
                    self._try({**first, **method, name: value}, sources)

    def _try(self, values: dict[str, Any], sources: dict[int | None, Source]) -> None:
        """Everything of a run up to its first step."""
        where = f"With {', '.join(f'{name}={value}' for name, value in values.items())}: "
        try:
            recipe = self.recipe(values)
            if recipe.devices * recipe.nodes > 1:
                raise ConfigError("devices: a trial runs on one device; use --workers instead.")
            source = sources.get(recipe.image_size)
            if source is None:
                source = open_training(self.data, recipe, progress=True)
                sources[recipe.image_size] = source
            recipe = resolve(recipe, METHODS.get(recipe.method), source)
            kind = modality(recipe.modality)
            if len(kind.reservoir(source, recipe)[1]) < LEAST_HELD_OUT:
                raise DataError(f"'{source.name}' is too small to hold samples out for a monitor.")
            spec = kind.input_spec(recipe, source)
            kind.training_views(recipe, spec)
            build_method(METHODS.get(recipe.method), recipe, spec)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{where}{error}") from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}{error}") from None
