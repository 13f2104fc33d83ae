"""Recipe: the complete, typed, replayable description of a run."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tacit.errors import ConfigError, did_you_mean
from tacit.untrusted import load_yaml, read_text

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: Any) -> Any:
    """Seconds from `90`, `"90s"`, `"10m"`, `"1h30m"` or `"00:10:00"`.

    >>> parse_time("1h30m")
    5400.0
    """
    if not isinstance(text, str):
        return text
    if re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", text):
        return float(text)
    if re.fullmatch(r"\d+(:\d{1,2}){1,2}", text):
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + int(part)
        return seconds
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError(f"'{text}' is not a time; write for instance 90s, 10m or 1h30m")
    return sum(float(a) * _UNITS[b] for a, b in parts)


# In YAML and after --set, 32 is a number.
Precision = Annotated[
    Literal["auto", "32", "bf16"], BeforeValidator(lambda v: "32" if v == 32 else v)
]
Seconds = Annotated[float, BeforeValidator(parse_time), Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class OptimizerConfig(_Strict):
    """How parameters are updated; one-dimensional ones get no weight decay and no LARS scaling."""

    name: Literal["sgd", "lars", "adam", "adamw", "muon"] = "sgd"
    lr: float = Field(0.06, gt=0, description="learning rate, per 256 samples if scale_lr")
    scale_lr: bool = Field(True, description="multiply lr by global batch / 256")
    weight_decay: float = Field(5e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    trust: float = Field(0.02, gt=0, description="LARS trust coefficient")
    vector_lr: float = Field(2e-3, gt=0, description="muon: Adam's rate of biases and norms")
    clip_lars: bool = Field(True, description="LARS ratio clipped at the learning rate")
    decay_all: bool = Field(False, description="weight decay on biases and normalisation too")


class ScheduleConfig(_Strict):
    """Learning-rate shape over the run."""

    name: Literal["cosine", "constant", "step"] = "cosine"
    warmup: float = Field(0.01, ge=0, lt=1, description="fraction of the run with linear warm-up")
    final: float = Field(0.0, ge=0, le=1, description="last learning rate / base learning rate")
    milestones: tuple[float, ...] = Field((), description="step: fractions of the run")
    gamma: float = Field(0.1, gt=0, le=1, description="step: factor at every milestone")


class MonitorConfig(_Strict):
    """The label-free monitor."""

    every: int | None = Field(
        None, ge=1, description="steps between looks; null: about 2 % of time"
    )
    samples: int = Field(1024, ge=32, description="size of the held-out reservoir")
    criteria: tuple[str, ...] = Field(
        (), description="label-free criteria to record beside those that the alarm needs"
    )


class Recipe(_Strict):
    """Everything that determines a run. None means: chosen by the method, the data or the machine;
    the recipe in a run folder has every choice filled in."""

    method: str = "simclr"
    options: dict[str, Any] = Field(default_factory=dict, description="the method's own options")
    data: str = "photos"
    modality: str = Field("image", description="image, series, graph ...; follows from the data")
    split: Literal["all", "train", "test"] = "all"
    image_size: int | None = Field(None, ge=8)
    encoder: str | None = None
    encoder_options: dict[str, Any] = Field(default_factory=dict)
    views: str = "simclr"
    views_options: dict[str, Any] = Field(default_factory=dict)
    n_views: int | None = Field(
        None, ge=1, le=256, description="views of a sample; 256 at most; null: as the method has"
    )
    view_scale: float = Field(1.0, gt=0, le=2, description="side of the views / image_size")
    batch_size: int | None = Field(
        256, ge=1, description="samples per optimiser step and process; null: all at once"
    )
    forward_batch: int | None = Field(
        None, ge=1, description="samples the encoder reads at a time (gradient caching); null: all"
    )
    accumulate: int = Field(1, ge=1, description="micro-batches an optimiser step is made of")
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    max_time: Seconds | None = None
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    clip_norm: float | None = Field(None, gt=0)
    precision: Precision = "auto"
    compile: bool = Field(
        False, description="compile the networks: a minute at the start, faster steps on GPUs"
    )
    repeatable: bool = Field(True, description="on GPUs: only kernels that repeat exactly")
    seed: int = Field(0, ge=0, lt=2**63)
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)
    checkpoint_every: Seconds = Field(120.0, description="seconds between checkpoints")
    strict: bool = Field(False, description="a corrupt sample is an error instead of skipped")
    max_bad_batches: int = Field(10, ge=0, description="batches with NaN left out before an error")
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp: weights are divided too")
    sync_batchnorm: bool = Field(False, description="batch norm over the batches of all processes")
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()

    @classmethod
    def parse(cls, values: dict[str, Any], where: str = "recipe") -> Recipe:
        """Validate; every error names the field and, for an unknown one, the closest known."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where)) from None

    def changed(self, changes: dict[str, Any]) -> Recipe:
        """A copy with `changes` laid over it; nested dictionaries are merged."""
        return Recipe.parse(_merge(self.model_dump(), changes))

    def to_yaml(self) -> str:
        """YAML text that `from_yaml` reads back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str, where: str = "recipe") -> Recipe:
        """The recipe in a YAML text (safe loading).

        Raises
        ------
        ConfigError : not YAML, not a mapping, or an invalid field (named).
        """
        try:
            values = load_yaml(text)
        except ValueError as error:
            raise ConfigError(f"{where} is not valid YAML: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{where} must be a mapping of field names to values.")
        return cls.parse(values, where)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """The recipe in a file."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"There is no recipe file '{path}'.")
        return cls.from_yaml(read_text(path), where=str(path))


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """A validation error in words: field, value, what is allowed, and a suggestion."""
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            fields = _fields_at(model, item["loc"][:-1])
            hint = did_you_mean(str(item["loc"][-1]), fields) or f" Known: {', '.join(fields)}."
            lines.append(f"{where}: there is no field '{path}'.{hint}")
        else:
            lines.append(f"{where}: {path} = {reprlib.repr(item['input'])}: {item['msg']}.")
    return "\n".join(lines)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if nested else value
    return out
