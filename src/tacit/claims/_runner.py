"""Run a claim on several seeds and write its table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tacit.claims.base import Result
from tacit.errors import ConfigError
from tacit.registry import CLAIMS
from tacit.training.folder import write_atomic


def reproduce(
    name: str,
    *,
    seeds: int = 3,
    scale: float = 1.0,
    data: str | None = None,
    out: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run a claim and, where `out` is given, write `out/NAME.md` and `out/NAME.json`.

    Parameters
    ----------
    name : of the claim (`tacit reproduce --help` lists them).
    seeds : how many; at least 3 for a verdict worth reading.
    scale : factor of the training steps.
    data : source spec instead of the claim's own.
    out : folder of the tables.
    tell : called with a line of progress.
    """
    if seeds < 1 or scale <= 0:
        raise ConfigError("--seeds must be at least 1 and --scale above 0.")
    claim = CLAIMS.get(name)
    result = Result(claim, name, scale, data=data)
    start = time.monotonic()
    for seed in range(seeds):
        rows = claim().run(seed, scale=scale, data=data or claim.data)
        result.seeds.append(seed)
        result.rows.append(rows)
        result.checks.append(claim().checks(rows))
        result.seconds = time.monotonic() - start
        tell(f"seed {seed} done after {result.seconds:.0f} s")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / f"{name}.md", markdown(result))
        write_atomic(out / f"{name}.json", json.dumps(result.to_json(), indent=1) + "\n")
    return result


def markdown(result: Result) -> str:
    """The page of a claim."""
    claim, table = result.claim, result.table()
    settings = f" --scale {result.scale:g}" if result.scale != 1 else ""
    lines = [
        f"# {result.name}: {result.verdict()}",
        "",
        f"**Paper**: {claim.paper.title} ({claim.paper.authors}, {claim.paper.year}), "
        f"<{claim.paper.url}>",
        "",
        f"**Claim**: {claim.statement}",
        "",
        f"**Experiment**: {claim.protocol}",
        "",
        f"Mean ± standard deviation over {len(result.seeds)} seeds; {result.seconds:.0f} s in all.",
    ]
    shown: list[str] = []
    for setting, values in table.items():
        if not set(values) <= set(shown):  # other quantities: a table of their own
            shown = list(values)
            lines += ["", "| setting | " + " | ".join(shown) + " |"]
            lines.append("| --- |" + " ---: |" * len(shown))
        cells = [f"{values[m][0]:.3f} ± {values[m][1]:.3f}" if m in values else "" for m in shown]
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    lines += ["", "| check | decisive | holds on seeds |", "| --- | --- | --- |"]
    for column in zip(*result.checks):
        held = sum(check.holds for check in column)
        decisive = "yes" if column[0].decisive else "information"
        lines.append(f"| {column[0].sentence} | {decisive} | {held} of {len(column)} |")
    if result.data is not None:
        settings += f" --data {_without_path(result.data)}"
    command = f"tacit reproduce {result.name} --seeds {len(result.seeds)}{settings}"
    return "\n".join([*lines, "", f"Repeat with `{command}`.", ""])


def _without_path(spec: str) -> str:
    """A spec as others can type it: where the data lies on this machine is PATH.

    >>> _without_path("planetoid:cora@/data/planetoid"), _without_path("cifar10:./cifar10")
    ('planetoid:cora@PATH', 'cifar10:PATH')
    """
    kind, colon, argument = spec.partition(":")
    name, at, _ = argument.partition("@")
    if at:
        return f"{kind}:{name}@PATH"
    return f"{kind}:PATH" if colon else kind if "/" not in spec else "PATH"
