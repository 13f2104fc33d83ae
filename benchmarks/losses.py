"""Contrastive losses in tiles against their plain matrix forms: time and peak memory.

    python -m benchmarks.losses [--quick]

Two views of a batch, 128 dimensions, float32, forward and backward, on one thread. The plain forms
are written as they are published, on the whole matrix of similarities. Times are CPU seconds, the
median of interleaved repetitions in one process; the largest batches run once, each in a process of
its own. Peak memory is that of a process of its own, beyond the inputs it holds; what a plain form
would need beyond the machine's memory is computed from its size, not run.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import target
from tacit import losses

DIM, TEMPERATURE, VIEWS = 128, 0.1, 2
SIZES = (1024, 4096, 8192, 16384, 65536)
QUICK = (256, 1024)
ONCE = 16384  # from this batch on: one run
GROWTH = (2048, 8192)  # batches that show how the memory of every loss grows
SHARE = 0.75  # of the available memory that a plain form may take

Loss = Callable[[Tensor], Tensor]
Forms = dict[str, dict[str, float]]  # "tacit" and "plain" -> what was measured
Table = dict[str, dict[str, Forms]]  # loss -> batch -> forms


def unit(z: Tensor) -> Tensor:
    """Unit vectors."""
    return F.normalize(z, dim=-1)


def without_own(matrix: Tensor) -> Tensor:
    """A square matrix of logits with -inf on its diagonal."""
    return matrix.masked_fill(torch.eye(len(matrix), dtype=torch.bool), -torch.inf)


def plain_info_nce(z: Tensor) -> Tensor:
    """SimCLR: cross-entropy over the 2N x 2N matrix."""
    u, n = unit(z.flatten(0, 1)), z.shape[1]
    return F.cross_entropy(without_own(u @ u.T / TEMPERATURE), torch.arange(2 * n).roll(n))


def plain_dcl(z: Tensor) -> Tensor:
    """DCL: neither the anchor nor its positive in the sum."""
    u, n = unit(z.flatten(0, 1)), z.shape[1]
    instance = torch.arange(n).repeat(2)
    logits = u @ u.T / TEMPERATURE
    negatives = logits.masked_fill(instance[:, None] == instance, -torch.inf)
    positive = (u[:n] * u[n:]).sum(1).repeat(2) / TEMPERATURE
    return (negatives.logsumexp(1) - positive).mean()


def plain_cacr(z: Tensor) -> Tensor:
    """CACR of two views: one positive, so that its weight is 1."""
    x, y = unit(z)
    attraction = (x - y).square().sum(1).mean()
    cost = 2 - 2 * x @ y.T
    weights = without_own(-cost).softmax(1)
    return attraction - (weights * cost).sum(1).mean()


def plain_mv_dhel(z: Tensor) -> Tensor:
    """MV-DHEL of two views."""
    u = unit(z)
    energies = [without_own(v @ v.T / TEMPERATURE).logsumexp(1) for v in u]
    return (energies[0] + energies[1] - (u[0] * u[1]).sum(1) / TEMPERATURE).mean()


def plain_barlow(z: Tensor) -> Tensor:
    """Barlow Twins: a matrix of dim x dim, whatever the batch."""
    a, b = (F.batch_norm(v, None, None, training=True) for v in z)
    c = a.T @ b / len(a)
    off = c.pow(2).sum() - c.diagonal().pow(2).sum()
    return (c.diagonal() - 1).pow(2).sum() + 0.0051 * off


def cacr(z: Tensor) -> Tensor:
    """CACR of unit vectors."""
    return losses.cacr_loss(unit(z), return_weights=False).loss


def pair(loss: Callable[..., Tensor], **options: object) -> Loss:
    """A loss of two views as one of their stack."""
    return lambda z: loss(z[0], z[1], **options)


@cache
def queue() -> Tensor:
    """65,536 keys, as columns: an input."""
    return unit(torch.randn(65536, DIM, generator=torch.Generator().manual_seed(1))).T


def queued(loss: Callable[..., Tensor]) -> Loss:
    """A loss of two views and a queue."""
    return lambda z: loss(z[0], z[1], queue())


COMPARED: dict[str, tuple[Loss, Loss]] = {
    "InfoNCE": (pair(losses.nt_xent_loss, temperature=TEMPERATURE), plain_info_nce),
    "DCL": (pair(losses.dcl_loss, temperature=TEMPERATURE), plain_dcl),
    "CACR": (cacr, plain_cacr),
    "MV-DHEL": (partial(losses.mv_dhel_loss, temperature=TEMPERATURE), plain_mv_dhel),
    "Barlow Twins": (pair(losses.barlow_twins_loss), plain_barlow),
}
EVERY: dict[str, Loss] = {
    "nt_xent_loss": pair(losses.nt_xent_loss),
    "nt_xent, other view": pair(losses.nt_xent, temperature=TEMPERATURE, negatives="cross"),
    "multi_positive_nt_xent_loss": losses.multi_positive_nt_xent_loss,
    "dcl_loss": pair(losses.dcl_loss),
    "dclw_loss": pair(losses.dclw_loss),
    "cacr_loss": cacr,
    "cacr_loss, rbf": lambda z: losses.cacr_loss(unit(z), cost="rbf", return_weights=False).loss,
    "cacr_queue_loss": lambda z: (
        losses.cacr_queue_loss(unit(z), unit(z), queue(), return_weights=False).loss
    ),
    "cacr_moco_v3_loss": lambda z: losses.cacr_moco_v3_loss(z[1:], z[0]),
    "mv_infonce_loss": losses.mv_infonce_loss,
    "mv_dhel_loss": losses.mv_dhel_loss,
    "dhel_loss": pair(losses.dhel_loss),
    "cl1_loss": losses.cl1_loss,
    "cl2_loss": losses.cl2_loss,
    "pvc_loss": losses.pvc_loss,
    "kcl_loss, gaussian": pair(losses.kcl_loss),
    "kcl_loss, imq": pair(losses.kcl_loss, kernel="imq"),
    "uniform_loss": lambda z: losses.uniform_loss(z[0]),
    "moco_loss": queued(losses.moco_loss),
    "moco_dcl_loss": queued(losses.moco_dcl_loss),
    "moco_v3_loss": pair(losses.moco_v3_loss),
    "nnclr_loss": pair(losses.nnclr_loss),
    "nnclr_dcl_loss": pair(losses.nnclr_dcl_loss),
}


def views(n: int) -> Tensor:
    """Two views that agree in part."""
    g = torch.Generator().manual_seed(0)
    shared = torch.randn(n, DIM, generator=g)
    return (shared + 0.5 * torch.randn(VIEWS, n, DIM, generator=g)).requires_grad_()


def step(loss: Loss, z: Tensor) -> tuple[float, float]:
    """CPU seconds of the loss with its gradient, and its value."""
    z.grad = None
    start = time.process_time()
    value = loss(z)
    value.backward()
    return time.process_time() - start, float(value.detach())


def _memory(field: str, file: str = "/proc/self/status") -> float:
    """MiB from /proc (Linux)."""
    return int(Path(file).read_text().split(f"{field}:")[1].split()[0]) / 1024


def alone(kind: str, name: str, n: int) -> dict[str, float]:
    """Peak MiB beyond the inputs, and seconds; runs in a process of its own."""
    torch.set_num_threads(1)
    loss = EVERY[name] if kind == "every" else COMPARED[name][kind == "plain"]
    step(loss, views(64))  # libraries are loaded, and the queue is there
    z = views(n)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    held = _memory("VmRSS")
    seconds, value = step(loss, z)
    return {"peak_mib": _memory("VmHWM") - held, "seconds": seconds, "value": value}


def in_process(*arguments: object) -> dict[str, float]:
    """`alone` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(alone, arguments)


def timed(n: int, runs: dict[str, Loss], repetitions: int) -> dict[str, float]:
    """Median seconds of each, interleaved; the first round does not count."""
    z, times = views(n), {name: list[float]() for name in runs}
    for _ in range(repetitions + 1):
        for name, loss in runs.items():
            times[name].append(step(loss, z)[0])
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def compare(sizes: tuple[int, ...]) -> Table:
    """Peak, seconds and value; or what a plain form would need. Printed batch by batch."""
    table: Table = {name: {} for name in COMPARED}
    print("| batch | loss | s | s, plain | time / plain | peak, MiB | peak, plain, MiB |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for n in sizes:
        runs: dict[str, Loss] = {}
        for name, (tiled, plain) in COMPARED.items():
            forms = table[name][str(n)] = {"tacit": in_process("tacit", name, n)}
            runs[f"{name}/tacit"] = tiled
            smaller = [(m, form["plain"]) for m, form in table[name].items() if "plain" in form]
            peaks = [(int(m), row["peak_mib"]) for m, row in smaller if "peak_mib" in row]
            need = max((peak * (n / m) ** 2 for m, peak in peaks[-1:]), default=0.0)
            if name != "Barlow Twins" and need > SHARE * _memory("MemAvailable", "/proc/meminfo"):
                forms["plain"] = {"needs_gib": need / 1024}
                continue
            forms["plain"] = in_process("plain", name, n)
            runs[f"{name}/plain"] = plain
        if n < ONCE:
            for key, seconds in timed(n, runs, 5 if n <= 4096 else 3).items():
                name, form = key.split("/")
                table[name][str(n)][form]["seconds"] = seconds
        for name, batches in table.items():
            print(f"| {n:,} | {name} | {row(batches[str(n)])} |", flush=True)
    return table


def row(forms: Forms) -> str:
    """The numbers of a loss at one batch, as cells."""
    ours, plain = forms["tacit"], forms["plain"]
    seconds, peak = f"{ours['seconds']:.3g}", f"{ours['peak_mib']:.0f}"
    if "needs_gib" in plain:
        return f"{seconds} | | | {peak} | out of memory: {plain['needs_gib']:,.0f} GiB"
    ratio = ours["seconds"] / plain["seconds"]
    return f"{seconds} | {plain['seconds']:.3g} | {ratio:.2f} | {peak} | {plain['peak_mib']:,.0f}"


def main(quick: bool = False) -> dict[str, object]:
    """Print both tables and return them."""
    torch.set_num_threads(1)
    table = compare(QUICK if quick else SIZES)
    few, many = QUICK if quick else GROWTH
    print(f"\n| loss | s at {many:,} | peak at {few:,}, MiB | peak at {many:,}, MiB |")
    print("| --- | ---: | ---: | ---: |")
    every = {}
    for name in list(EVERY)[: 2 if quick else None]:
        rows = {str(n): in_process("every", name, n) for n in (few, many)}
        a, b = rows.values()
        print(
            f"| {name} | {b['seconds']:.3g} | {a['peak_mib']:.0f} | {b['peak_mib']:.0f} |",
            flush=True,
        )
        every[name] = rows
    return {
        "compared": table,
        "every loss": every,
        "dim": DIM,
        "views": VIEWS,
        "threads": 1,
        "targets": [] if quick else targets(table["InfoNCE"]),
    }


def targets(table: dict[str, Forms]) -> list[dict[str, object]]:
    """InfoNCE in tiles: memory at the largest batch, time where the plain form still fits."""
    peak = table["65536"]["tacit"]["peak_mib"]
    ratio = table["8192"]["tacit"]["seconds"] / table["8192"]["plain"]["seconds"]
    return [
        target("InfoNCE, batch 65,536: MiB over the inputs", "< 1024", peak, peak < 1024),
        target("InfoNCE, batch 8,192: time of tiles / plain", "<= 1.3", ratio, ratio <= 1.3),
    ]


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
