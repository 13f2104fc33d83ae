"""What `tacit methods` and the documentation say of a method, from its class."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from tacit.registry import METHODS


class Row(NamedTuple):
    """One line of the catalogue."""

    name: str
    family: str
    year: int
    summary: str
    modalities: tuple[str, ...]


def overview() -> list[Row]:
    """All methods by family."""
    rows = []
    for name in METHODS.names():
        cls = METHODS.get(name)
        summary = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        rows.append(Row(name, family(cls), cls.paper.year, summary, cls.modalities))
    return sorted(rows, key=lambda row: (row.family, row.name))


def family(cls: type) -> str:
    """The folder that a method's file is in."""
    parts = cls.__module__.split(".")
    return parts[-2] if len(parts) > 2 else "other"


def describe(name: str) -> str:
    """One method in full: text, paper, options with defaults, recipe."""
    cls = METHODS.get(name)
    lines = [
        f"{METHODS.name_of(cls)} ({family(cls)})",
        "",
        inspect.cleandoc(cls.__doc__ or ""),
        "",
        f"Paper: {cls.paper.title}",
        f"       {cls.paper.authors}, {cls.paper.year}. {cls.paper.url}",
        f"Data:  {', '.join(cls.modalities)}"
        + ("; takes labels of training samples" if cls.uses_labels else ""),
        "",
        "Options (--set NAME=VALUE):",
    ]
    for field, info in cls.Config.model_fields.items():
        default = (
            "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
        )
        lines.append(
            f"  {field} = {default}" + (f"   {info.description}" if info.description else "")
        )
    if not cls.Config.model_fields:
        lines.append("  none")
    recipe = cls.default_recipe(cls.modalities[0])
    optimizer, schedule = recipe.optimizer, recipe.schedule
    lines += [
        "",
        "Default recipe:",
        f"  views {recipe.views}, {recipe.n_views or cls.n_views} a sample"
        + (f", {recipe.views_options}" if recipe.views_options else ""),
        f"  {optimizer.name}, lr {optimizer.lr:g}"
        + (" x batch/256" if optimizer.scale_lr else "")
        + f", weight decay {optimizer.weight_decay:g}, batch {recipe.batch_size or 'by the data'}",
        f"  {schedule.name} schedule, warm-up {schedule.warmup:.0%} of the run",
    ]
    return "\n".join(lines)
