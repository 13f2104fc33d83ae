"""The errors a user sees: what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TacitError(Exception):
    """Base of every error that the user can act on; the CLI prints it without a traceback."""


class DataError(TacitError, ValueError):
    """The data cannot be used as it is (empty, unreadable, NaN, wrong shape, too few samples)."""


class ConfigError(TacitError, ValueError):
    """An option, a name or a recipe is wrong."""


class MissingExtraError(TacitError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'tacit[{extra}]'"
        )


class CollapseError(TacitError):
    """The representation has collapsed so far that the computation has no meaning."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the GPU or of the machine was too small.

    >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("shapes do not fit"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    # torch is not imported here, and on the CPU has no class for it.
    names = {kind.__name__ for kind in type(error).__mro__}
    on_cpu = "DefaultCPUAllocator" in str(error)
    return isinstance(error, RuntimeError) and ("OutOfMemoryError" in names or on_cpu)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest option, or an empty string.

    >>> did_you_mean("simcrl", ["simclr", "byol"])
    " Did you mean 'simclr'?"
    """
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
