"""`python -m benchmarks [SUITE ...]`: every suite, its tables printed and kept in docs/."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import io
import sys
from pathlib import Path
from typing import Any

from benchmarks.document import FOLDER, SUITES, load, machine, save


class _Both(io.StringIO):
    """Standard output that is also kept."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def write(self, text: str) -> int:
        self.out.write(text)
        self.out.flush()
        return super().write(text)


def run(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """One suite: what it printed (without JSON), what it returned, where and when."""
    suite = SUITES[name]
    about = machine(values["device"])
    chosen = {key: value for key, value in values.items() if key in suite.options}
    with contextlib.redirect_stdout(_Both(sys.stdout)) as kept:  # type: ignore[type-var]
        result = importlib.import_module(f"benchmarks.{suite.module}").main(**chosen)
    lines = [line for line in kept.getvalue().splitlines() if not line.startswith("{")]
    extra = " --device cuda" if values["device"] == "cuda" else ""
    extra += " --quick" if values["quick"] else ""
    extra += " --data planetoid:cora@DIR" if "spec" in suite.options else ""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": about,
        "command": f"python -m benchmarks {name}{extra}",
        "markdown": "\n".join(lines).strip(),
        "result": result,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--data", help="planetoid:cora@DIR, for the suite of graphs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"unknown suite {', '.join(unknown)}; known: {', '.join(SUITES)}")
    if "graph" in options.suites and not options.data:
        parser.error("the suite of graphs needs --data planetoid:cora@DIR")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen suites; results of the others are kept."""
    options = parse(arguments)
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("error: no CUDA device here. Run this on a machine with an NVIDIA GPU.")
            return 2
    able = [n for n in SUITES if options.device == "cpu" or "device" in SUITES[n].options]
    chosen = options.suites or [name for name in able if name != "graph" or options.data]
    values = {"quick": options.quick, "device": options.device, "spec": options.data}
    targets = []
    for name in chosen:
        if name not in able:
            print(f"{name}: has no measurement on a GPU, left out")
            continue
        print(f"\n## {SUITES[name].title}\n")
        entry = run(name, values)
        targets += entry["result"].get("targets", [])
        if not options.quick or options.out != FOLDER:  # after each, so that nothing is lost
            key = name if options.device == "cpu" else f"{name}-cuda"
            save({**load(options.out), key: entry}, options.out)
    print()
    for one in targets:
        verdict = "met" if one["met"] else "MISSED"
        print(f"{verdict:7}{one['name']}: {one['measured']:.3g} (wanted {one['wanted']})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
