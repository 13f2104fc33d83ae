"""Every method for some steps on CIFAR-10 from the command line: the table in docs/methods.md.

    python -m benchmarks.methods cifar10:PATH [--steps 200]

RankMe of the held-out reservoir is read at the first and the last look; kNN (k 20, T 0.07) uses
5,000 training and 1,000 test images and is information: 200 steps are no training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tacit.catalogue import overview
from tacit.training.metrics import read_metrics

SMALL = ["--set", "view_scale=0.5", "--set", "monitor_every=20", "--set", "monitor.samples=512"]
BATCH = {"wmse": "128"}  # its whitening needs twice as many samples as dimensions
TABLE = Path(__file__).parents[1] / "docs" / "methods.md"


def tacit(*arguments: str) -> None:
    """Run one command, quietly; its error is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tacit", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tacit {' '.join(arguments)}\n{done.stderr}")


def row(name: str, data: str, steps: int, folder: Path) -> list[str]:
    """Train one method and read what its run folder says."""
    run, start = folder / name, time.monotonic()
    tacit(
        "pretrain", name, data, "--steps", str(steps), "--batch-size", BATCH.get(name, "64"),
        *SMALL, "--no-report", "-o", str(run),
    )  # fmt: skip
    seconds = time.monotonic() - start
    tacit(
        "evaluate", str(run), "--probe", "knn", "--train-samples", "5000",
        "--test-samples", "1000", "--no-baselines",
    )  # fmt: skip
    metrics = read_metrics(run / "metrics.csv")
    rank = [value for value in metrics["rankme"] if value is not None]
    health = [value for value in metrics["health"] if value is not None]
    knn = json.loads((run / "evaluation.json").read_text())["rows"]["encoder"]["knn"]
    loss = metrics["loss"]
    return [
        f"{loss[0]:.3f} → {loss[-1]:.3f}",
        f"{rank[0]:.1f} → {rank[-1]:.1f}",
        health[-1],
        f"{100 * knn:.1f}",
        f"{seconds:.0f}",
    ]


def main() -> None:
    """Train all methods and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    lines = [
        "# Methods",
        "",
        f"Every method, {arguments.steps} steps of 64 images (W-MSE 128) on CIFAR-10 with its "
        "paper's recipe, 16-pixel views and the `small` encoder, from the command line on one "
        "CPU core of a busy machine: `python -m benchmarks.methods cifar10:PATH`. RankMe is "
        "measured on 512 held-out images at the first look (step 20) and at the end; kNN (per "
        "cent, 5,000 training and 1,000 test images) is information only, because so few steps "
        "are no training: learning rates and schedules are those of the papers' long runs.",
        "",
        "| method | family | loss | RankMe | monitor | kNN | seconds |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for entry in overview():
            cells = row(entry.name, arguments.data, arguments.steps, Path(folder))
            lines.append("| " + " | ".join([f"`{entry.name}`", entry.family, *cells]) + " |")
            print(lines[-1], flush=True)
    lines += ["", "| method | paper |", "| --- | --- |"]
    from tacit.registry import METHODS

    for entry in overview():
        paper = METHODS.get(entry.name).paper
        lines.append(
            f"| `{entry.name}` | {paper.authors}: [{paper.title}]({paper.url}), {paper.year} |"
        )
    TABLE.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
