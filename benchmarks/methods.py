"""Every image method for some steps on CIFAR-10 from the command line: docs/methods.md.

    python -m benchmarks.methods cifar10:PATH [NAME ...] [--steps 200]

Rows are kept in docs/methods.json as they come: a second call trains only what is missing, and
NAMEs train these again. RankMe is that of the held-out reservoir at the first, the lowest and the
last look; kNN (k 20, T 0.07) uses 5,000 training and 1,000 test images.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tacit.catalogue import Row, overview
from tacit.evaluation.health import RISING
from tacit.registry import METHODS
from tacit.training.metrics import read_metrics

DOCS = Path(__file__).parents[1] / "docs"
SMALL = ["view_scale=0.5", "monitor_every=10", "monitor.samples=512"]
# What a recipe for hundreds of epochs lacks in a quarter of an epoch with small batches.
OWN: dict[str, list[str]] = {
    # The authors' advice for a loss that stays at log(prototypes), as it does here with 3,000 of
    # them for 128 codes a step.
    "swav": ["epsilon=0.02", "n_prototypes=100"],
    # Four samples a dimension in a batch of 64; with two (128 for 64) the loss hardly falls.
    "wmse": ["w_size=64", "proj_output_dim=16"],
}
HEAD = """# Methods

Every image method, {steps} steps of 64 images on CIFAR-10 with its paper's recipe, 16-pixel views
and the `small` encoder, from the command line on one CPU core: `python -m benchmarks.methods
cifar10:PATH`, that is

    tacit pretrain NAME cifar10:PATH --steps {steps} --batch-size 64 {small}

and what "own settings" adds. So few steps are no training (a quarter of an epoch; the recipes are
made for hundreds): the table shows that every method runs, and what the monitor says of it. RankMe
is that of the projections of 512 held-out images at the first look (step 10), at the lowest one and
at the end. An untrained network is no measure of it: random projections fill many dimensions (with
batch norm 65 to 380 here) until the network begins to ignore the noise, so that the rank falls
before it rises, with some methods within the first ten steps, with others (BYOL) later. After its
lowest value it should rise ("↑": by a tenth or more), or the collapse alarm should ring. kNN is in
per cent, from 5,000 training and 1,000 test images; the untrained encoder has {untrained:.1f}, raw
pixels {raw:.1f}. Seconds are processor time with one thread, starting included.
"""


def tacit(*arguments: str) -> None:
    """Run one command, quietly; its error is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tacit", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tacit {' '.join(arguments)}\n{done.stderr}")


def used() -> float:
    """Processor seconds of the commands so far: other work on the machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, data: str, steps: int) -> dict[str, Any]:
    """Train one method and read what its run folder says."""
    settings = [word for setting in SMALL + OWN.get(name, []) for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        run, start = Path(folder) / name, used()
        tacit(
            "pretrain", name, data, "--steps", str(steps), "--batch-size", "64", *settings,
            "--no-report", "-o", str(run),
        )  # fmt: skip
        seconds = used() - start
        tacit(
            "evaluate", str(run), "--probe", "knn", "--train-samples", "5000",
            "--test-samples", "1000",
        )  # fmt: skip
        metrics = read_metrics(run / "metrics.csv")
        tests = json.loads((run / "evaluation.json").read_text())["rows"]
    kept = {key: [v for v in metrics[key] if v is not None] for key in ("loss", "rankme", "health")}
    kept |= {"knn": {who: values["knn"] for who, values in tests.items()}}
    return kept | {"seconds": seconds, "steps": steps, "own": OWN.get(name, [])}


def cells(entry: Row, found: dict[str, Any] | None) -> list[str]:
    """One line of the table."""
    if found is None:
        return [f"`{entry.name}`", entry.family, "not yet", "", "", "", "", "", "", ""]
    loss, rank = found["loss"], found["rankme"]
    return [
        f"`{entry.name}`",
        entry.family,
        f"{loss[0]:.3f} → {loss[-1]:.3f}",
        f"{rank[0]:.1f}",
        f"{min(rank):.1f}",
        f"{rank[-1]:.1f}{' ↑' if rank[-1] >= RISING * min(rank) else ''}",
        found["health"][-1],
        f"{100 * found['knn']['encoder']:.1f}",
        f"{found['seconds']:.0f}",
        ", ".join(f"`{setting}`" for setting in found["own"]),
    ]


def neither(rows: dict[str, dict[str, Any]]) -> str:
    """The methods without a clear rise and without an alarm, in words."""
    found = []
    for name, row in sorted(rows.items()):
        rise = row["rankme"][-1] / min(row["rankme"])
        if rise < RISING and "collapse" not in row["health"][-1]:
            found.append(f"`{name}` (+{100 * (rise - 1):.0f} %)")
    return f"Less than a tenth above the lowest, without an alarm: {', '.join(found) or 'none'}."


def page(entries: list[Row], rows: dict[str, dict[str, Any]], steps: int) -> str:
    """The text of docs/methods.md."""
    percent = {who: 100 * value for who, value in next(iter(rows.values()))["knn"].items()}
    lines = [
        HEAD.format(steps=steps, small=" ".join(f"--set {s}" for s in SMALL), **percent),
        "| method | family | loss | RankMe, first | lowest | end | monitor | kNN | seconds "
        "| own settings |",
        "| --- | --- | --- | ---: | ---: | :--- | --- | ---: | ---: | --- |",
    ]
    lines += ["| " + " | ".join(cells(entry, rows.get(entry.name))) + " |" for entry in entries]
    lines += ["", neither(rows), "", "| method | paper |", "| --- | --- |"]
    for entry in entries:
        paper = METHODS.get(entry.name).paper
        link = f"{paper.authors}: [{paper.title}]({paper.url}), {paper.year}"
        lines.append(f"| `{entry.name}` | {link} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Train what is missing and write the table after every method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("names", nargs="*", help="train these again; default: what is missing")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    entries = [entry for entry in overview() if "image" in entry.modalities]
    store = DOCS / "methods.json"
    rows = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    rows = {name: row for name, row in rows.items() if row["steps"] == arguments.steps}
    for name in arguments.names or [entry.name for entry in entries if entry.name not in rows]:
        rows[name] = measure(name, arguments.data, arguments.steps)
        store.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        (DOCS / "methods.md").write_text(page(entries, rows, arguments.steps), encoding="utf-8")
        rank, health = rows[name]["rankme"], rows[name]["health"][-1]
        print(f"{name}: RankMe {' '.join(f'{r:.1f}' for r in rank)}, {health}", flush=True)


if __name__ == "__main__":
    main()
