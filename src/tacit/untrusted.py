"""Reading what others may have written: nothing runs, nothing explodes, errors name the file."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from tacit.errors import DataError, TacitError

LARGEST_TEXT = 64 * 2**20  # bytes of a description (recipe, status ...); more is not one
MOST_VALUES = 100_000  # of a YAML text once its aliases are unfolded
DEEPEST = 50
SMALL = 64 * 2**20  # bytes that may always be unpacked
RATIO = 200  # unpacked / packed; real arrays and numbers in text stay below about 50
UNPACK = "TACIT_UNPACK_MIB"  # the user's own word on a file that is nearly all zeros

# Control characters (terminals obey them), lone surrogates, and what reorders a line.
_HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "timestamp")
)


def visible(text: str, keep: str = "") -> str:
    r"""Text that a terminal shows and does not obey; characters in `keep` stay.

    >>> visible("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return _HIDDEN.sub(
        lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode(), text
    )


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file.

    Raises
    ------
    TacitError : it cannot be read, is too large to be a description, or is not text.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device never ends
            raise TacitError(f"'{path}' cannot be read: it is not a regular file.")
        with open(path, "rb") as file:
            data = file.read(LARGEST_TEXT + 1)
        if len(data) > LARGEST_TEXT:
            raise TacitError(
                f"'{path}' is larger than {LARGEST_TEXT >> 20} MiB: not a description."
            )
        return data.decode("utf-8")
    except OSError as error:
        raise TacitError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TacitError(f"'{path}' is damaged: it is not UTF-8 text ({error}).") from error


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises
    ------
    TacitError : missing, damaged or no mapping; the message ends with `advice`.
    """
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise TacitError(f"'{path}' is damaged ({error}); {advice}") from error
    if not isinstance(values, dict):
        raise TacitError(f"'{path}' is damaged (it holds no mapping of names to values); {advice}")
    return values


def load_yaml(text: str) -> Any:
    """Plain values of a YAML text: no objects, no bombs.

    Raises
    ------
    ValueError : not YAML, an object or a type that JSON has not, aliases that unfold to more than
        100,000 values or contain themselves, deeper than 50 levels, an impossible number or date.

    >>> load_yaml("a: [1, 2.5, x]")
    {'a': [1, 2.5, 'x']}
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}, 0) > MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {MOST_VALUES:,} values")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    except (ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it has an impossible value ({error})") from error


def _count(node: yaml.Node, known: dict[yaml.Node, int], depth: int) -> int:
    """Values below a node with its aliases unfolded; 0 in `known` marks a node being counted."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    if node.tag not in _TAGS:
        raise ValueError(f"it asks for a value of the kind {node.tag}, which is refused")
    if node not in known:
        known[node] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        known[node] = 1 + sum(_count(part, known, depth + 1) for part in inner)
    elif known[node] == 0:
        raise ValueError("an alias contains itself")
    return known[node]


def refuse_bomb(what: str, unpacked: int, packed: int, advice: str) -> None:
    """Refuse what would unpack to far more than its size, before it is unpacked.

    Raises
    ------
    DataError : above 64 MiB (the environment variable TACIT_UNPACK_MIB) and 200 times its packed
        size.

    >>> refuse_bomb("x.npz", 10**10, 10**6, "Or unpack it.")  # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    tacit.errors.DataError: x.npz is a possible decompression bomb: 9,537 MiB in 1.0 MiB. If you
    trust it, set TACIT_UNPACK_MIB to the MiB of memory that it may take. Or unpack it.
    """
    if unpacked > RATIO * max(packed, 1) and unpacked > _allowed():
        raise DataError(
            f"{what} is a possible decompression bomb: {unpacked / 2**20:,.0f} MiB in "
            f"{packed / 2**20:,.1f} MiB. If you trust it, set {UNPACK} to the MiB of memory that "
            f"it may take. {advice}"
        )


def _allowed() -> int:
    """Bytes that may always be unpacked."""
    text = os.environ.get(UNPACK, "")
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise DataError(f"{UNPACK}={visible(text)!r} must be a whole number of MiB.")
    return max(SMALL, int(text or 0) * 2**20)
