"""Networks from a table of names, with options that are checked before they are used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tacit.encoders.base import Encoder
from tacit.errors import ConfigError, did_you_mean

Table = Mapping[str, tuple[type[Encoder], dict[str, Any]]]


def named(kind: str, table: Table, name: str) -> tuple[type[Encoder], dict[str, Any]]:
    """What a table has under a name ('-' reads as '_').

    Raises
    ------
    ConfigError : it has nothing there.
    """
    key = name.lower().replace("-", "_")
    known = {entry.replace("-", "_"): entry for entry in table}
    if key not in known:
        raise ConfigError(
            f"unknown {kind} '{name}'.{did_you_mean(key, known)} Known: {', '.join(table)}"
        )
    return table[known[key]]


def build_named(
    kind: str, table: Table, name: str, options: Mapping[str, Any], **sizes: Any
) -> Encoder:
    """The network that a table has under a name ('-' reads as '_').

    Parameters
    ----------
    kind : what an entry is called in messages, for instance "series encoder".
    table : name -> (class, defaults that options may override).
    name, options : the user's words.
    **sizes : what the data decides; not options.

    Raises
    ------
    ConfigError : unknown name or option, or a value that the option cannot take.

    >>> from tacit.encoders import SmallConvNet
    >>> table = {"small": (SmallConvNet, {})}
    >>> build_named("encoder", table, "small", {}, in_channels=3, image_size=32).in_channels
    3
    """
    cls, defaults = named(kind, table, name)
    return cls(**sizes, **{**defaults, **check_options(name, cls, options, tuple(sizes))})


def check_options(
    name: str, cls: type[Encoder], options: Mapping[str, Any], sizes: tuple[str, ...]
) -> dict[str, Any]:
    """Refuse unknown options and convert values to the annotated types ("4" from a shell to 4)."""
    hints = get_type_hints(cls.__init__)
    skipped = ("self", *sizes)
    known = {
        key: hints.get(key, Any)
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in skipped
    }
    checked = {}
    for key, value in options.items():
        if key not in known:
            raise ConfigError(
                f"the encoder '{name}' has no option '{key}'.{did_you_mean(key, known)} "
                f"Options: {', '.join(known)}"
            )
        try:
            checked[key] = TypeAdapter(known[key]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(
                f"the option {key}={value!r} of the encoder '{name}': {error.errors()[0]['msg']}"
            ) from error
    return checked
