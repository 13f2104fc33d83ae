"""docs/benchmarks.json and the page docs/benchmarks.md that is made from it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "docs"
PACKAGES = ("torch", "numpy", "pillow", "scikit-learn", "kornia", "faiss-cpu")


class Suite(NamedTuple):
    """A module of this folder with `main`, its title, and what remains to be said on the page."""

    module: str
    title: str
    options: tuple[str, ...] = ("quick",)
    note: str = ""


SUITES = {
    "views": Suite(
        "views",
        "Views",
        ("quick", "device"),
        "Small views are cut by sums of few rows and one product a batch or, with numba "
        "(`tacit[fast]`), made in one compiled pass each; from 64 pixels on, a CPU "
        "cuts them one after the other with the library's 8-bit kernel, and blurs in blocks of a "
        "band matrix.",
    ),
    "step": Suite("step", "The training step", ("quick", "device")),
    "losses": Suite("losses", "Losses in tiles", ("quick", "device")),
    "knn": Suite("knn", "Nearest neighbours and label-free criteria", ("quick", "device")),
    "decode": Suite("decode", "Decoding"),
    "startup": Suite("startup", "Start-up"),
    "series": Suite(
        "series",
        "Mamba: parallel scan and loop",
        note="Width is that inside the block. The scan wins where single steps are small; from "
        "about 8,000 numbers a step on, a CPU core is bound by memory, and the rest of the block "
        "(products over states, exponentials) takes most of the time.",
    ),
    "graph": Suite(
        "graph",
        "Graphs",
        ("spec", "quick"),
        "The published Cora configuration (512 x 4 heads, features 1.3 % dense); both other "
        "implementations keep features dense and rebuild all nodes. Sampling: 1,024 nodes a step, "
        "10 and 10 neighbours, GAT of width 64, a generated graph with 10 edges a node and 64 "
        "features.",
    ),
}


def machine(device: str) -> dict[str, Any]:
    """Hardware and versions."""
    import torch

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    out = {
        "cpu": named[0] if named else platform.processor(),
        "features": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if f in flags],
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "threads": 1,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
    }
    return out | {"gpu": torch.cuda.get_device_name()} if device == "cuda" else out


def load(folder: Path = FOLDER) -> dict[str, Any]:
    """The results so far."""
    path = folder / "benchmarks.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def save(results: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write both files."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(text + "\n")
    (folder / "benchmarks.md").write_text(page(results))


def page(results: dict[str, Any]) -> str:
    """The whole page in Markdown."""
    parts = [
        "# Benchmarks",
        "`make bench` runs all suites (`python -m benchmarks views knn` some, `--data "
        "planetoid:cora@DIR` also that of graphs), prints their tables, and writes this page and "
        "`benchmarks.json`. Ratios are medians of interleaved repetitions in one process, on one "
        "thread.",
    ]
    rows, missed = [], []
    keys = [key for name in SUITES for key in (name, f"{name}-cuda") if key in results]
    for key in keys:
        for one in results[key]["result"].get("targets", []):
            name, measured = f"{one['name']}{_device(key)}", f"{one['measured']:.3g}"
            met = "met" if one["met"] else "**missed**"
            rows.append(f"| {name} | {one['wanted']} | {measured} | {met} |")
            if "why" in one:
                missed.append(f"- {name} ({measured}): {one['why']}.")
    if rows:
        head = "| target | wanted | measured | |\n| --- | --- | ---: | --- |\n"
        parts += ["## Targets", head + "\n".join(rows)]
        parts += ["Missed, and why:\n\n" + "\n".join(missed)] if missed else []
    for key in keys:
        parts += _section(SUITES[key.removesuffix("-cuda")], key, results[key])
    return "\n\n".join(parts) + "\n"


def _section(suite: Suite, key: str, entry: dict[str, Any]) -> list[str]:
    about = importlib.import_module(f"benchmarks.{suite.module}").__doc__ or ""
    said = [text.strip() for text in about.strip().split("\n\n") if not text.startswith("    ")]
    parts = [f"## {suite.title}{_device(key)}", *(" ".join(text.split()) for text in said)]
    return [*parts, *([suite.note] if suite.note else []), _where(entry), entry["markdown"].strip()]


def _where(entry: dict[str, Any]) -> str:
    if "measured" in entry:
        return str(entry["measured"])
    m = entry["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in m["packages"].items())
    gpu = f"{m['gpu']}; " if "gpu" in m else ""
    return (
        f"Measured {entry['date']} on {gpu}{m['cpu']} ({', '.join(m['features'])}), {m['cores']} "
        f"cores, {m['memory_gib']} GiB, {m['threads']} thread, load {m['load']} of other work; "
        f"Python {m['python']}, {packages}. `{entry['command']}`"
    )


def _device(key: str) -> str:
    return " (GPU)" if key.endswith("-cuda") else ""
