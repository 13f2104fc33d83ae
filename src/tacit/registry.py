"""Names to classes, without importing what is not used.

A method is one file `tacit/methods/FAMILY/NAME.py`: its stem is the name (`mv_dhel.py` is
`mv-dhel`), so adding the file registers it. Other packages register through the entry-point group
`tacit.methods`, and any importable class can be named as `package.module:Class`.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tacit.errors import ConfigError, did_you_mean


def canonical(name: str) -> str:
    """`MV_DHEL` and `mv-dhel` are the same name.

    >>> canonical("MV_DHEL")
    'mv-dhel'
    """
    return name.strip().lower().replace("_", "-")


class Registry:
    """Lazy lookup of the classes of one kind in one package.

    Parameters
    ----------
    kind : what one entry is called in messages, for instance "method".
    package : the package that is scanned for modules, for instance "tacit.methods".
    group : entry-point group of plug-ins.
    base : "module:Class" of which every entry is a subclass.
    """

    def __init__(self, kind: str, package: str, group: str, base: str) -> None:
        self.kind, self.package, self.group, self.base = kind, package, group, base

    @cache  # noqa: B019 - registries live as long as the process
    def _targets(self) -> dict[str, str]:
        """Name -> "module" (the one subclass of base in it) or "module:Class"."""
        found: dict[str, str] = {}
        spec = importlib.util.find_spec(self.package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for file in sorted(Path(root).rglob("*.py")):
                if file.stem.startswith("_") or file.stem == "base":
                    continue
                parts = file.relative_to(root).with_suffix("").parts
                found[canonical(file.stem)] = ".".join((self.package, *parts))
        for point in entry_points(group=self.group):
            found[canonical(point.name)] = point.value
        return found

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted(self._targets())

    def get(self, name: str) -> Any:
        """The class called `name`.

        Raises
        ------
        ConfigError : the name is unknown (with a suggestion) or cannot be imported.
        """
        if ":" in name:
            return self._load(name)
        targets = self._targets()
        key = canonical(name)
        if key not in targets:
            raise ConfigError(
                f"There is no {self.kind} called '{name}'.{did_you_mean(key, targets)} "
                f"Known: {', '.join(self.names())}."
            )
        return self._load(targets[key])

    def name_of(self, cls: type) -> str:
        """The name under which `get` finds this class."""
        for name, target in self._targets().items():
            module, _, attribute = target.partition(":")
            if cls.__module__ == module and (not attribute or attribute == cls.__name__):
                return name
        return f"{cls.__module__}:{cls.__qualname__}"

    def _load(self, target: str) -> Any:
        module_name, _, attribute = target.partition(":")
        base_module, base_name = self.base.split(":")
        base = getattr(importlib.import_module(base_module), base_name)
        try:
            module = importlib.import_module(module_name)
        except (ImportError, ValueError, TypeError) as error:  # the last two: impossible names
            raise ConfigError(f"Cannot import the {self.kind} '{target}': {error}.") from error
        if attribute:
            if not hasattr(module, attribute):
                raise ConfigError(f"'{module_name}' has no attribute '{attribute}'.")
            found = getattr(module, attribute)
            if not (isinstance(found, type) and issubclass(found, base)):
                raise ConfigError(f"'{target}' is not a {base_name}, so it is no {self.kind}.")
            return found
        own = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, base)
            and value.__module__ == module.__name__
        ]
        if len(own) != 1:
            raise ConfigError(f"{module_name} must define exactly one {base_name}, not {len(own)}.")
        return own[0]


METHODS = Registry("method", "tacit.methods", "tacit.methods", "tacit.methods.base:Method")
CLAIMS = Registry("claim", "tacit.claims", "tacit.claims", "tacit.claims.base:Claim")
