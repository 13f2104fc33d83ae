"""Start-up of the command line against an empty Python and the import of torch.

    python -m benchmarks.startup [--quick]

Processor seconds of a process of its own, from start to end; the median of interleaved repetitions.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

from benchmarks.measure import interleaved, median, target

REPETITIONS = 9
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "tacit --version": ["-m", "tacit", "--version"],
    "tacit --help": ["-m", "tacit", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def children() -> float:
    """Processor seconds of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(quick: bool = False) -> dict[str, Any]:
    """Print the table and return it."""
    works = {
        name: lambda rest=rest: subprocess.run(
            [sys.executable, *rest], check=True, stdout=subprocess.DEVNULL
        )
        for name, rest in COMMANDS.items()
        if not (quick and "torch" in name)
    }
    times = interleaved(works, 1 if quick else REPETITIONS, children)  # type: ignore[arg-type]
    out = {name: median(taken) for name, taken in times.items()}
    print("| command | s |\n| --- | ---: |")
    for name, value in out.items():
        print(f"| `{name}` | {value:.2f} |")
    value = out["tacit --help"]
    return {"seconds": out, "targets": [target("tacit --help", "< 0.5 s", value, value < 0.5)]}


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
