"""User words (`temperature=0.2`, `views.area=...`, `lr=0.1`) to recipe fields."""

from __future__ import annotations

from typing import Any

from tacit.data.open import check_known, spec_of_path
from tacit.data.spec import SPECS
from tacit.errors import ConfigError, DataError, did_you_mean
from tacit.modalities import modality
from tacit.recipe import OptimizerConfig, Recipe
from tacit.registry import METHODS, canonical

SECTIONS = {
    "optimizer": "optimizer",
    "schedule": "schedule",
    "monitor": "monitor",
    "views": "views_options",
    "encoder": "encoder_options",
    "options": "options",
}
SHORT = {name: ("optimizer", name) for name in ("lr", "weight_decay", "momentum")}
SHORT |= {"warmup": ("schedule", "warmup"), "monitor_every": ("monitor", "every")}


def place(name: str, value: Any, method_fields: list[str]) -> dict[str, Any]:
    """The nested recipe change that one user word means.

    >>> place("lr", 0.1, [])
    {'optimizer': {'lr': 0.1}}
    >>> place("views.area", [0.2, 1], [])
    {'views_options': {'area': [0.2, 1]}}
    """
    section, dot, field = name.partition(".")
    if dot:
        if section not in SECTIONS:
            raise ConfigError(
                f"There is no section '{section}' in '{name}'.{did_you_mean(section, SECTIONS)} "
                f"Known: {', '.join(SECTIONS)}."
            )
        return {SECTIONS[section]: {field: value}}
    if name == "optimizer" and isinstance(value, str):
        return {"optimizer": {"name": value}}
    if name in method_fields:
        return {"options": {name: value}}
    if name in SHORT:
        outer, inner = SHORT[name]
        return {outer: {inner: value}}
    if name in Recipe.model_fields:
        return {name: value}
    known = [*method_fields, *SHORT, *Recipe.model_fields, "effective_batch"]
    known += [f"optimizer.{field}" for field in OptimizerConfig.model_fields]
    raise ConfigError(
        f"There is no option '{name}'.{did_you_mean(name, known)} Options of the method: "
        f"{', '.join(method_fields) or 'none'}; of every run: {', '.join(Recipe.model_fields)}."
    )


def split_words(method: str | None, data: str | None) -> tuple[str | None, str]:
    """Method and data of a command line, where the method may be left out.

    >>> split_words("images:./photos", None)
    (None, 'images:./photos')
    >>> split_words("byol", None)
    ('byol', 'photos')
    """
    if method is not None and data is None:
        if method.partition(":")[0].lower() in SPECS:
            return None, method
        written = None if canonical(method) in METHODS.names() else spec_of_path(method)
        if written is not None:
            raise ConfigError(f"'{method}' is data, not a method: write {written}")
    return method, data or "photos"


def check_words(method: str | None, data: Any) -> None:
    """Refuse a word that is not what its place is for, and say which one was meant.

    Raises
    ------
    ConfigError : `method` is data, or nothing but like the name of data.
    DataError : `data` is text that no source reads (unknown, or a method).

    >>> check_words("cifar11", "photos")
    Traceback (most recent call last):
    tacit.errors.ConfigError: There is no method called 'cifar11'. Did you mean the data 'cifar10'?
    """
    names = METHODS.names()
    swapped = isinstance(data, str) and canonical(data) in names
    if method is not None and canonical(method) not in names:
        prefix, colon, _ = method.partition(":")
        if prefix.lower() in SPECS:
            advice = " The method comes first, then the data."
            if swapped:
                advice = f" The method comes first: {data} {method}"
            elif not colon and isinstance(data, str) and data.partition(":")[0] not in SPECS:
                advice = f" Write one word: {method}:{data}"
            raise ConfigError(f"'{method}' is data, not a method.{advice}")
        like = did_you_mean(prefix, SPECS).replace("mean", "mean the data")
        if like and not did_you_mean(canonical(method), names):
            raise ConfigError(f"There is no method called '{method}'.{like}")
    if swapped:
        raise DataError(f"'{data}' is a method, not data. The method comes first, then the data.")
    if isinstance(data, str):
        check_known(data, names)


def build_recipe(
    method: str | None, data: str, values: dict[str, Any], kind_of_data: str = "image"
) -> Recipe:
    """The method's default recipe (tacit's own without a method) with the user's words over it.

    Parameters
    ----------
    method : name, or None for the default of the modality.
    data : spec, or what arrays are called.
    values : the user's words (see `place`); None means not given.
    kind_of_data : the modality.

    Raises
    ------
    ConfigError : unknown method or option (with a suggestion), a method that is for other data,
        value out of range.
    """
    kind = modality(kind_of_data)
    recipe = kind.default_recipe(data) if method is None else None
    if method is None:
        method = kind.default_method if recipe is None else recipe.method
    cls = METHODS.get(method)
    name = METHODS.name_of(cls)
    if kind.name not in cls.modalities:
        fitting = [m for m in METHODS.names() if kind.name in METHODS.get(m).modalities]
        raise ConfigError(
            f"{name} trains on {' or '.join(cls.modalities)} data, but '{data}' is {kind.name} "
            f"data. Methods for it: {', '.join(fitting)}."
        )
    if recipe is None:
        recipe = kind.method_recipe(cls, data)
    limits = ("epochs", "steps", "max_time")
    if any(values.get(limit) is not None for limit in limits):
        recipe = recipe.changed(dict.fromkeys(limits))
    recipe = recipe.changed({"method": name, "data": data, "modality": kind.name})
    for name, value in values.items():
        if value is not None and name.partition(".")[0] in kind.unused:
            raise ConfigError(f"'{name}' means nothing for {kind.name} data; leave it out.")
        if value is not None and name != "effective_batch":
            recipe = recipe.changed(place(name, value, list(cls.Config.model_fields)))
    effective = values.get("effective_batch")
    return recipe if effective is None else _effective(recipe, effective)


def _effective(recipe: Recipe, size: int) -> Recipe:
    """The loss sees `size` samples at once, the encoder `batch_size` of them at a time."""
    if recipe.batch_size is None:
        raise ConfigError(
            f"effective_batch {size} needs batch_size beside it: how many samples the encoder "
            "reads at a time."
        )
    if size < recipe.batch_size:
        raise ConfigError(
            f"effective_batch {size} is smaller than the batch of {recipe.batch_size} that the "
            "encoder reads at a time; raise it, or set batch_size alone."
        )
    return recipe.changed({"batch_size": size, "forward_batch": recipe.batch_size})
