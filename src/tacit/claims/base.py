"""What a claim is: a paper's statement as an experiment with a baseline, run on several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from tacit.methods.base import Paper

Rows = dict[str, dict[str, float]]  # setting -> metric -> value, of one seed


class Check(NamedTuple):
    """One testable sentence about the rows of one seed.

    decisive : it counts for the verdict; otherwise it is information.
    """

    sentence: str
    holds: bool
    decisive: bool = True


class Claim:
    """Base of the experiments that `tacit reproduce` runs.

    A subclass runs baseline and system on the same budget and says in `checks` what must hold. No
    number of the result is chosen after looking: the checks are written before the run.
    """

    paper: ClassVar[Paper]
    statement: ClassVar[str]
    """The paper's claim in one sentence."""
    protocol: ClassVar[str]
    """Data, networks, budget and metrics of the small-scale check, in a few sentences."""
    data: ClassVar[str | None] = None
    """Source spec that the user may replace, for instance "cifar10"; None: data inside packages."""

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        """All settings on one seed.

        Parameters
        ----------
        seed : of weights, order and views.
        scale : factor of the training steps; 1 is the size of the committed tables.
        data : source spec instead of `self.data`.
        """
        raise NotImplementedError

    def checks(self, rows: Rows) -> list[Check]:
        """What should hold in the rows of one seed."""
        raise NotImplementedError


@dataclass
class Result:
    """Rows of every seed, the checks, and the verdict."""

    claim: type[Claim]
    name: str
    scale: float
    data: str | None = None
    seeds: list[int] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    checks: list[list[Check]] = field(default_factory=list)
    seconds: float = 0.0

    def verdict(self) -> str:
        """From the decisive checks over seeds.

        "supported": every one holds on every seed; "not supported": one of them fails on every
        seed; "inconclusive": anything between.
        """
        by_check = list(zip(*self.checks))
        decisive = [[check.holds for check in column] for column in by_check if column[0].decisive]
        if all(all(column) for column in decisive):
            return "supported"
        if any(not any(column) for column in decisive):
            return "not supported"
        return "inconclusive"

    def table(self) -> dict[str, Mapping[str, tuple[float, float]]]:
        """setting -> metric -> (mean, standard deviation over seeds)."""
        import numpy as np

        out: dict[str, dict[str, tuple[float, float]]] = {}
        for setting, metrics in self.rows[0].items():
            out[setting] = {}
            for metric in metrics:
                values = np.array([rows[setting][metric] for rows in self.rows])
                spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
                out[setting][metric] = (float(values.mean()), spread)
        return out  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        """Everything, machine-readable."""
        return {
            "claim": self.name,
            "verdict": self.verdict(),
            "scale": self.scale,
            "seconds": round(self.seconds, 1),
            "seeds": {str(seed): rows for seed, rows in zip(self.seeds, self.rows)},
            "checks": {
                str(seed): [check._asdict() for check in checks]
                for seed, checks in zip(self.seeds, self.checks)
            },
        }
