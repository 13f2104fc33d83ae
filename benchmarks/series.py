"""The parallel scan of the Mamba block against the loop, forward and backward.

    python -m benchmarks.series

One series, 16 states a channel, in one process on one thread; the median of interleaved
repetitions. The loop is the same recurrence step by step under autograd.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measure import target
from tacit.encoders.series import MambaBlock
from tacit.encoders.series.scan import parallel_scan, sequential_scan

LENGTHS, WIDTHS = (20, 128, 512, 2048, 8192), (16, 128)  # width: of the block inside
STATES, REPETITIONS = 16, 5


def seconds(function: Callable[[], object]) -> float:
    """Duration of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_times(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each, interleaved."""
    for function in functions:
        function()
    rounds = [[seconds(function) for function in functions] for _ in range(REPETITIONS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def scan_case(length: int, width: int) -> dict[str, float]:
    """Milliseconds of scan and loop alone, and of a whole block with either."""
    g = torch.Generator().manual_seed(0)
    shape = (1, length, width, STATES)
    a = torch.rand(shape, generator=g).requires_grad_()
    b = torch.randn(shape, generator=g).requires_grad_()
    x = torch.randn(1, length, width // 2, generator=g)

    def recurrence(scan: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(scan(a, b).sum(), (a, b))

    blocks = {}
    for name in ("parallel", "sequential"):
        torch.manual_seed(0)
        blocks[name] = MambaBlock(width // 2, STATES, scan=name)  # type: ignore[arg-type]
    difference = float((blocks["parallel"](x) - blocks["sequential"](x)).abs().max().detach())
    times = median_times(
        recurrence(parallel_scan),
        recurrence(sequential_scan),
        lambda: blocks["parallel"](x).sum().backward(),
        lambda: blocks["sequential"](x).sum().backward(),
    )
    names = ("scan", "loop", "block, scan", "block, loop")
    return {n: 1000 * t for n, t in zip(names, times, strict=True)} | {"difference": difference}


def main(quick: bool = False) -> dict[str, object]:
    """Print the table and return it."""
    torch.set_num_threads(1)
    cases = [(length, width) for width in WIDTHS for length in LENGTHS][: 1 if quick else None]
    results = {f"{length:,} | {width}": scan_case(length, width) for length, width in cases}
    print(
        "| steps | width | scan, ms | loop, ms | ratio "
        "| block with scan, ms | with loop, ms | ratio |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for case, row in results.items():
        ratios = row["loop"] / row["scan"], row["block, loop"] / row["block, scan"]
        print(
            f"| {case} | {row['scan']:.1f} | {row['loop']:.1f} | {ratios[0]:.1f} | "
            f"{row['block, scan']:.1f} | {row['block, loop']:.1f} | {ratios[1]:.1f} |"
        )
    print(json.dumps(results))
    if quick:
        return {"cases": results, "targets": []}
    long = [row for case, row in results.items() if not case.startswith("20 |")]
    worst = min(row["loop"] / row["scan"] for row in long)
    least = target("Mamba, the scan from 128 steps on", "> 1 x loop", worst, worst > 1)
    return {"cases": results, "targets": [least]}


if __name__ == "__main__":
    main()
