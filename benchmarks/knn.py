"""Exact nearest neighbours against faiss and scikit-learn, and the label-free criteria.

    python -m benchmarks.knn [--quick]

A bank of 50,000 x 512 float32 rows and 10,000 queries, on one thread: processor time, the median
of interleaved repetitions. The rows are random directions around 100 centres, as features of
classes are. faiss is `IndexFlatIP` on unit rows, its building included; scikit-learn is brute force
with the cosine distance. The criteria are those of 1,000,000 x 256, each in a process of its own;
memory is the peak beyond the matrix.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.measure import (
    MISSING,
    in_process,
    installed,
    interleaved,
    median,
    ratio,
    reset_peak,
    status_mib,
    target,
)
from tacit.evaluation import criteria
from tacit.evaluation.criteria import DIRECTIONS
from tacit.evaluation.knn import cosine_neighbors

BANK, QUERIES, DIM, ROWS, WIDTH = 50_000, 10_000, 512, 1_000_000, 256
QUICK = (2_000, 200, 32, 5_000, 16)
NEIGHBOURS = (20, 200)
REPETITIONS = 3


def rows(count: int, dim: int, seed: int) -> Tensor:
    """Features like those of classes: random directions around 100 centres."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(100, dim, generator=g)
    g.manual_seed(seed)
    label = torch.randint(100, (count,), generator=g)
    return centres[label] + torch.randn(count, dim, generator=g)


def searches(bank: Tensor, queries: Tensor, k: int) -> dict[str, Callable[[], object]]:
    """The same neighbours in each library."""
    works: dict[str, Callable[[], object]] = {"tacit": lambda: cosine_neighbors(bank, queries, k)}
    if installed("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)

        def flat() -> object:
            unit = [torch.nn.functional.normalize(x).numpy() for x in (bank, queries)]
            index = faiss.IndexFlatIP(bank.shape[1])
            index.add(unit[0])
            return index.search(unit[1], k)

        works["faiss"] = flat
    from sklearn.neighbors import NearestNeighbors

    brute = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine", n_jobs=1)
    works["scikit-learn"] = lambda: brute.fit(bank.numpy()).kneighbors(queries.numpy())
    return works


def case(k: int, bank: Tensor, queries: Tensor, repetitions: int) -> dict[str, Any]:
    """Seconds of each library, and how many times faster tacit is."""
    works = searches(bank, queries, k)
    with threadpool_limits(1):
        times = interleaved(works, repetitions, warm=False)
    out: dict[str, Any] = {name: {"seconds": median(t)} for name, t in times.items()}
    for name, value in out.items():
        value["ratio"] = ratio(times[name], times["tacit"])
    return out


def criterion(name: str, count: int, width: int) -> dict[str, float]:
    """Seconds and peak MiB beyond the matrix of one criterion, or of "all"."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    z = torch.randn(count, width, generator=g) * torch.arange(1, width + 1) ** -0.5
    criteria(z[: 4 * width], name)  # imports and first calls
    held, start = reset_peak(), time.process_time()
    criteria(z, name)
    return {"seconds": time.process_time() - start, "mib": status_mib("VmHWM") - held}


def main(quick: bool = False) -> dict[str, Any]:
    """Print both tables and return them."""
    torch.set_num_threads(1)
    n, m, dim, count, width = QUICK if quick else (BANK, QUERIES, DIM, ROWS, WIDTH)
    bank, queries = rows(n, dim, 1), rows(m, dim, 2)
    print("| neighbours | library | s | queries/s | tacit is faster by |")
    print("| ---: | --- | ---: | ---: | ---: |")
    found, targets = {}, []
    for k in NEIGHBOURS:
        found[k] = case(k, bank, queries, 1 if quick else REPETITIONS)
        for name, row in found[k].items():
            faster = "" if name == "tacit" else f"{row['ratio']:.2f}"
            rate = f"{m / row['seconds']:,.0f}"
            print(f"| {k} | {name} | {row['seconds']:.2f} | {rate} | {faster} |", flush=True)
        if "faiss" in found[k]:
            value = found[k]["faiss"]["ratio"]
            why = "the rows that a first look in bf16 leaves, some 350 a query, are read again"
            targets.append(target(f"kNN, k = {k}", ">= 1 x faiss", value, value >= 1, why))
        else:
            print(f"| {k} | faiss | {MISSING} | | |")
    print(f"\n| criterion of {count:,} x {width} | s | peak beyond the matrix, MiB |")
    print("| --- | ---: | ---: |")
    table = {}
    names = ["all", *(name for name in DIRECTIONS if name != "lidar")]
    for name in names[: 3 if quick else None]:
        table[name] = row = in_process(criterion, name, count, width)
        print(f"| {name} | {row['seconds']:.2f} | {row['mib']:.0f} |", flush=True)
    return {"neighbours": found, "criteria": table, "targets": targets}


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
