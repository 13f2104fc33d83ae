"""How the suites measure: interleaved repetitions, processor time, peak memory of a process."""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Work = Callable[[], object]
MISSING = "not installed: pip install 'tacit[bench]'"


def seconds(work: Work, clock: Callable[[], float] = time.process_time) -> float:
    """One call; by default processor time, so that other work on the machine counts little."""
    start = clock()
    work()
    return clock() - start


def interleaved(
    works: Mapping[str, Work],
    repetitions: int,
    clock: Callable[[], float] = time.process_time,
    warm: bool = True,
) -> dict[str, list[float]]:
    """Seconds of every repetition of each, one after the other in turn; a first round is free."""
    if warm:
        for work in works.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            times[name].append(seconds(work, clock))
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the ratios within a repetition: how many times faster `fast` is."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def target(name: str, wanted: str, measured: float, met: bool, why: str = "") -> dict[str, Any]:
    """One target; `why` says why it is missed, and is dropped where it is met."""
    row = {"name": name, "wanted": wanted, "measured": measured, "met": bool(met)}
    return row if met or not why else {**row, "why": why}


def status_mib(field: str) -> float:
    """MiB of this process, from /proc (Linux)."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def free_mib() -> float:
    """MiB that new processes may take (Linux)."""
    text = Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) / 1024


def reset_peak() -> float:
    """The peak of this process begins here; MiB that it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_mib("VmRSS")


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a fresh process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
