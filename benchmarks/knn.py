"""Exact nearest neighbours against faiss and scikit-learn, and the label-free criteria.

    python -m benchmarks.knn [--quick] [--device cuda]

A bank of 50,000 x 512 float32 rows and 10,000 queries, on one thread: processor time, the median
of interleaved repetitions. The rows are random directions around 100 centres, as features of
classes are. faiss is `IndexFlatIP` on unit rows, its building included; scikit-learn is brute force
with the cosine distance. The criteria are those of 1,000,000 x 256, each in a process of its own;
memory is the peak beyond the matrix. On a GPU the peer is one product of unit rows and its `topk`,
by blocks of queries, in float32 as ours; times are those of the clock.
"""

from __future__ import annotations

import functools
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
    seconds,
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
    if bank.is_cuda:

        def plain() -> object:
            unit = [torch.nn.functional.normalize(x) for x in (bank, queries)]
            found = [(block @ unit[0].T).topk(k) for block in unit[1].split(2048)]
            return [x.cpu() for part in found for x in part]

        return {"tacit": finished(works["tacit"]), "torch": finished(plain)}
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


def finished(work: Callable[[], object]) -> Callable[[], object]:
    """The work, until the GPU is done with it."""
    return lambda: (work(), torch.cuda.synchronize())


def case(k: int, bank: Tensor, queries: Tensor, repetitions: int) -> dict[str, Any]:
    """Seconds of each library, and how many times faster tacit is."""
    works = searches(bank, queries, k)
    clock = time.perf_counter if bank.is_cuda else time.process_time
    with threadpool_limits(1):
        times = interleaved(works, repetitions, clock, warm=bank.is_cuda)
    out: dict[str, Any] = {name: {"seconds": median(t)} for name, t in times.items()}
    for name, value in out.items():
        value["ratio"] = ratio(times[name], times["tacit"])
    return out


@functools.cache
def matrix(count: int, width: int, device: str) -> Tensor:
    """Rows whose variances fall like 1 / i."""
    g = torch.Generator().manual_seed(0)
    return (torch.randn(count, width, generator=g) * torch.arange(1, width + 1) ** -0.5).to(device)


def criterion(name: str, count: int, width: int, device: str) -> dict[str, float]:
    """Seconds and peak MiB beyond the matrix of one criterion, or of "all"."""
    torch.set_num_threads(1)
    z = matrix(count, width, device)
    criteria(z[: 4 * width], name)  # imports and first calls
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
        taken = seconds(finished(lambda: criteria(z, name)), time.perf_counter)
        return {"seconds": taken, "mib": torch.cuda.max_memory_allocated() / 2**20 - held}
    held = reset_peak()
    taken = seconds(lambda: criteria(z, name))
    return {"seconds": taken, "mib": status_mib("VmHWM") - held}


def main(quick: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Print both tables and return them."""
    torch.set_num_threads(1)
    n, m, dim, count, width = QUICK if quick else (BANK, QUERIES, DIM, ROWS, WIDTH)
    bank, queries = rows(n, dim, 1).to(device), rows(m, dim, 2).to(device)
    print("| neighbours | library | s | queries/s | tacit is faster by |")
    print("| ---: | --- | ---: | ---: | ---: |")
    found, targets = {}, []
    for k in NEIGHBOURS:
        found[k] = case(k, bank, queries, 1 if quick else REPETITIONS)
        for name, row in found[k].items():
            faster = "" if name == "tacit" else f"{row['ratio']:.2f}"
            rate = f"{m / row['seconds']:,.0f}"
            print(f"| {k} | {name} | {row['seconds']:.3g} | {rate} | {faster} |", flush=True)
        if "faiss" in found[k]:
            value = found[k]["faiss"]["ratio"]
            why = "the rows that a first look in bf16 leaves, some 350 a query, are read again"
            targets.append(target(f"kNN, k = {k}", ">= 1 x faiss", value, value >= 1, why))
        elif device == "cpu":
            print(f"| {k} | faiss | {MISSING} | | |")
    print(f"\n| criterion of {count:,} x {width} | s | peak beyond the matrix, MiB |")
    print("| --- | ---: | ---: |")
    table = {}
    names = ["all", *(name for name in DIRECTIONS if name != "lidar")]
    for name in names[: 3 if quick else None]:
        run = criterion if device == "cuda" else functools.partial(in_process, criterion)
        table[name] = row = run(name, count, width, device)
        print(f"| {name} | {row['seconds']:.3g} | {row['mib']:.0f} |", flush=True)
    return {"neighbours": found, "criteria": table, "targets": targets}


if __name__ == "__main__":
    where = "cuda" if "cuda" in sys.argv else "cpu"
    print(json.dumps(main("--quick" in sys.argv, where)))
