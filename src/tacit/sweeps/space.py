"""What a sweep varies: `LOW:HIGH[:log|:STEP]` or a list of values, for any field of a recipe."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import yaml
from pydantic import BaseModel

from tacit.errors import ConfigError, did_you_mean
from tacit.options import place
from tacit.recipe import Recipe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER}):({NUMBER})(?::(log|{NUMBER}))?")
HOW = "Write LOW:HIGH, LOW:HIGH:log, LOW:HIGH:STEP, or values A,B,C."
Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        stride, high = self._stride, self.high
        if stride is not None:
            high = self.low + (int(self.count()) - 1) * stride
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return IntDistribution(int(self.low), int(high), self.log, step)
        return FloatDistribution(self.low, high, self.log, self.step)

    def decode(self, sampled: Any) -> Any:
        """The recipe's value of a sampled one."""
        return sampled

    def corners(self) -> list[Any]:
        """The values that are checked before anything is trained."""
        return [self.low, self.high]

    @property
    def _stride(self) -> float | None:
        return self.step or (1 if self.whole and not self.log else None)

    def count(self) -> float:
        """How many values there are."""
        stride = self._stride
        return math.inf if stride is None else int((self.high - self.low) / stride + 1e-9) + 1

    def grid(self) -> list[Any] | None:
        """All values, None where there are infinitely many."""
        stride = self._stride
        if stride is None:
            return None
        values = [self.low + i * stride for i in range(int(self.count()))]
        return [int(value) for value in values] if self.whole else values

    def __str__(self) -> str:
        end = ":log" if self.log else "" if self.step is None else f":{self.step:.12g}"
        return f"{self.low:.12g}:{self.high:.12g}{end}"


@dataclass(frozen=True)
class Choice:
    """One of several values; Optuna keeps lists and mappings as their JSON text."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> list[Scalar]:
        """The values as Optuna keeps them."""
        return [v if isinstance(v, Scalar) else json.dumps(v) for v in self.values]

    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def decode(self, sampled: Any) -> Any:
        """The recipe's value of a sampled one."""
        return self.values[self.labels.index(sampled)]

    def corners(self) -> list[Any]:
        """The values that are checked before anything is trained."""
        return list(self.values)

    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    def grid(self) -> list[Any]:
        """All values, as Optuna keeps them."""
        return list(self.labels)

    def __str__(self) -> str:
        return ",".join(str(label) for label in self.labels)


Dimension: TypeAlias = Range | Choice
Space: TypeAlias = dict[str, Dimension]


def parse_space(vary: Mapping[str, Any], methods: Sequence[type[Any]] = ()) -> Space:
    """The space of `{"optimizer.lr": "1e-4:1e-1:log", "batch_size": [64, 128]}`.

    Parameters
    ----------
    vary : user words (see `tacit.options.place`) with a range in words, values in words, or a list.
    methods : classes whose options may be named; they say which numbers are whole.

    Raises
    ------
    ConfigError : an unknown field (with a suggestion), one given twice, or no range and no list.

    >>> parse_space({"batch_size": "64,128", "lr": "0.001:0.1:log"})["lr"]
    Range(low=0.001, high=0.1, log=True, step=None, whole=False)
    """
    space: Space = {}
    taken: dict[str, str] = {}
    for name, spec in vary.items():
        annotation, path = _field(name, methods)
        if path in taken:
            raise ConfigError(f"--vary {name}: the field is already varied as '{taken[path]}'.")
        taken[path] = name
        space[name] = _dimension(name, spec, annotation)
    if not space:
        raise ConfigError(f"Nothing to vary: give --vary FIELD=SPEC. {HOW}")
    return space


def split_specs(words: Iterable[str]) -> dict[str, str]:
    """`["optimizer.lr=1e-4:1e-1:log"]` -> `{"optimizer.lr": "1e-4:1e-1:log"}`.

    Raises
    ------
    ConfigError : no equals sign, or one field twice.
    """
    specs: dict[str, str] = {}
    for word in words:
        name, equals, spec = word.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--vary takes FIELD=SPEC, for instance optimizer.lr=1e-4:1e-1:log, not '{word}'."
            )
        if name.strip() in specs:
            raise ConfigError(f"--vary {name.strip()}: the field is already varied.")
        specs[name.strip()] = spec.strip()
    return specs


def _field(name: str, methods: Sequence[type[Any]]) -> tuple[Any, str]:
    """The field's type (None where it has none) and its full path in the recipe."""
    options = {key: field for cls in methods for key, field in cls.Config.model_fields.items()}
    ((section, inner),) = place(name, None, list(options)).items()
    annotation = Recipe.model_fields[section].annotation
    if not isinstance(inner, dict):
        return annotation, section
    ((key, _),) = inner.items()
    if section == "options":
        fields = options
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
    else:  # options of views and encoders have no types
        return None, f"{section}.{key}"
    if key not in fields:
        raise ConfigError(
            f"--vary {name}: there is no field '{key}'.{did_you_mean(key, fields)} "
            f"Known: {', '.join(fields)}."
        )
    return fields[key].annotation, f"{section}.{key}"


def _dimension(name: str, spec: Any, annotation: Any) -> Dimension:
    if not isinstance(spec, str):
        values = list(spec) if isinstance(spec, Sequence) else [spec]
        return _choice(name, values)
    found = RANGE.fullmatch(spec)
    if found:
        return _range(name, found, annotation)
    try:
        values = yaml.safe_load(f"[{spec}]")
    except yaml.YAMLError:
        raise ConfigError(f"--vary {name}: '{spec}' cannot be read. {HOW}") from None
    if re.match(rf"{NUMBER}:", spec) and len(values) == 1:
        raise ConfigError(f"--vary {name}: '{spec}' is not a range. {HOW}")
    return _choice(name, [_number(value) for value in values])


def _number(value: Any) -> Any:
    """YAML reads 1e-4, without a point, as a word."""
    return float(value) if isinstance(value, str) and re.fullmatch(NUMBER, value) else value


def _choice(name: str, values: list[Any]) -> Choice:
    if len(values) < 2:
        raise ConfigError(
            f"--vary {name}: there is nothing to vary in {values}; use --set for one value. {HOW}"
        )
    choice = Choice(tuple(values))
    for i, label in enumerate(choice.labels):
        if any(label == other and type(label) is type(other) for other in choice.labels[:i]):
            raise ConfigError(f"--vary {name}: the value {label!r} is there twice.")
    return choice


def _range(name: str, found: re.Match[str], annotation: Any) -> Range:
    low_text, high_text, more = found.groups()
    kinds = {annotation, *get_args(annotation)}
    written = all(re.fullmatch(r"[+-]?\d+", text) for text in (low_text, high_text))
    whole = int in kinds or (written and float not in kinds)
    low, high = float(low_text), float(high_text)
    step = None if more in (None, "log") else float(more)
    where = f"--vary {name}: in '{found.string}'"
    if whole and any(not v.is_integer() for v in (low, high, 1.0 if step is None else step)):
        raise ConfigError(f"{where}, {name} takes whole numbers only.")
    if low >= high:
        raise ConfigError(f"{where}, the low end is not below the high end.")
    if more == "log" and low <= 0:
        raise ConfigError(f"{where}, a logarithmic range must begin above 0.")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{where}, the step must be positive and at most {high - low:g}.")
    if whole:
        low, high = int(low), int(high)
    return Range(low, high, more == "log", step, whole)


def combinations(space: Space) -> float:
    """How many there are of the values of all fields.

    >>> combinations(parse_space({"batch_size": "64,128", "n_views": "2:3"}))
    4
    """
    return math.prod(dimension.count() for dimension in space.values())


def grid(space: Space) -> list[dict[str, Any]]:
    """All combinations of a finite space, the last field changing fastest.

    Raises
    ------
    ConfigError : a field takes infinitely many values (named).

    >>> grid(parse_space({"batch_size": "64,128", "n_views": "2:3"}))[1]
    {'batch_size': 64, 'n_views': 3}
    """
    axes = []
    for name, dimension in space.items():
        values = dimension.grid()
        if values is None:
            raise ConfigError(
                f"--sampler grid needs a finite set of values, but {name}={dimension} has "
                f"infinitely many: list them ({name}=A,B,C) or give a step ({name}=LOW:HIGH:STEP)."
            )
        axes.append(values)
    return [dict(zip(space, values)) for values in product(*axes)]
