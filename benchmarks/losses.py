"""Contrastive losses in tiles against their plain matrix forms: time and peak memory.

    python -m benchmarks.losses [--quick] [--device cuda]

Two views of a batch, 128 dimensions, float32, forward and backward, on one thread. The plain forms
are written as they are published, on the whole matrix of similarities. Times are CPU seconds, the
median of interleaved repetitions in one process; the largest batches run once, each in a process of
its own. Peak memory is that of a process of its own, beyond the inputs it holds; what a plain form
would need beyond the machine's memory is computed from its size, not run. On a GPU times are those
of the clock, every batch is repeated, and the peak is that of torch's allocator.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import free_mib, in_process, reset_peak, status_mib, target
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
    own = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    return matrix.masked_fill(own, -torch.inf)


def plain_info_nce(z: Tensor) -> Tensor:
    """SimCLR: cross-entropy over the 2N x 2N matrix."""
    u, n = unit(z.flatten(0, 1)), z.shape[1]
    positive = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(without_own(u @ u.T / TEMPERATURE), positive)


def plain_dcl(z: Tensor) -> Tensor:
    """DCL: neither the anchor nor its positive in the sum."""
    u, n = unit(z.flatten(0, 1)), z.shape[1]
    instance = torch.arange(n, device=z.device).repeat(2)
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
def queue(device: torch.device) -> Tensor:
    """65,536 keys, as columns: an input."""
    keys = torch.randn(65536, DIM, generator=torch.Generator().manual_seed(1))
    return unit(keys.to(device)).T


def queued(loss: Callable[..., Tensor]) -> Loss:
    """A loss of two views and a queue."""
    return lambda z: loss(z[0], z[1], queue(z.device))


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
        losses.cacr_queue_loss(unit(z), unit(z), queue(z.device), return_weights=False).loss
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


def views(n: int, device: str) -> Tensor:
    """Two views that agree in part."""
    g = torch.Generator().manual_seed(0)
    shared = torch.randn(n, DIM, generator=g)
    z = shared + 0.5 * torch.randn(VIEWS, n, DIM, generator=g)
    return z.to(device).requires_grad_()


def step(loss: Loss, z: Tensor) -> tuple[float, float]:
    """Seconds of the loss with its gradient (of the CPU, or of the clock), and its value."""
    clock = time.perf_counter if z.is_cuda else time.process_time
    z.grad = None
    start = clock()
    value = loss(z)
    value.backward()
    if z.is_cuda:
        torch.cuda.synchronize()
    return clock() - start, float(value.detach())


def free(device: str) -> float:
    """MiB that a plain form may take."""
    return SHARE * (torch.cuda.mem_get_info()[1] / 2**20 if device == "cuda" else free_mib())


def alone(kind: str, name: str, n: int, device: str) -> dict[str, float]:
    """Peak MiB beyond the inputs, and seconds; on the CPU in a process of its own."""
    torch.set_num_threads(1)
    loss = EVERY[name] if kind == "every" else COMPARED[name][kind == "plain"]
    step(loss, views(64, device))  # libraries are loaded, and the queue is there
    z = views(n, device)
    if device == "cuda":
        step(loss, z)
        z.grad = None
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
        seconds, value = step(loss, z)
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        held = reset_peak()
        seconds, value = step(loss, z)
        peak = status_mib("VmHWM")
    return {"peak_mib": peak - held, "seconds": seconds, "value": value}


def measured(kind: str, name: str, n: int, device: str) -> dict[str, float]:
    """`alone`, on the CPU in a new process."""
    if device == "cpu":
        return in_process(alone, kind, name, n, device)
    torch.cuda.empty_cache()
    return alone(kind, name, n, device)


def timed(n: int, runs: dict[str, Loss], repetitions: int, device: str) -> dict[str, float]:
    """Median seconds of each, interleaved; the first round does not count."""
    z, times = views(n, device), {name: list[float]() for name in runs}
    for _ in range(repetitions + 1):
        for name, loss in runs.items():
            times[name].append(step(loss, z)[0])
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def compare(sizes: tuple[int, ...], device: str) -> Table:
    """Peak, seconds and value; or what a plain form would need. Printed batch by batch."""
    table: Table = {name: {} for name in COMPARED}
    print("| batch | loss | s | s, plain | time / plain | peak, MiB | peak, plain, MiB |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for n in sizes:
        runs: dict[str, Loss] = {}
        for name, (tiled, plain) in COMPARED.items():
            forms = table[name][str(n)] = {"tacit": measured("tacit", name, n, device)}
            runs[f"{name}/tacit"] = tiled
            smaller = [(m, form["plain"]) for m, form in table[name].items() if "plain" in form]
            peaks = [(int(m), row["peak_mib"]) for m, row in smaller if "peak_mib" in row]
            need = max((peak * (n / m) ** 2 for m, peak in peaks[-1:]), default=0.0)
            if name != "Barlow Twins" and need > free(device):
                forms["plain"] = {"needs_gib": need / 1024}
                continue
            forms["plain"] = measured("plain", name, n, device)
            runs[f"{name}/plain"] = plain
        if n < ONCE or device == "cuda":
            for key, seconds in timed(n, runs, 5 if n <= 4096 else 3, device).items():
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


def main(quick: bool = False, device: str = "cpu") -> dict[str, object]:
    """Print both tables and return them."""
    torch.set_num_threads(1)
    table = compare(QUICK if quick else SIZES, device)
    few, many = QUICK if quick else GROWTH
    print(f"\n| loss | s at {many:,} | peak at {few:,}, MiB | peak at {many:,}, MiB |")
    print("| --- | ---: | ---: | ---: |")
    every = {}
    for name in list(EVERY)[: 2 if quick else None]:
        rows = {str(n): measured("every", name, n, device) for n in (few, many)}
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
    where = "cuda" if "cuda" in sys.argv else "cpu"
    print(json.dumps(main("--quick" in sys.argv, where)))
