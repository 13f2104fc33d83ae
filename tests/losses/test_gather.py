"""With ``gather=True`` several processes give the loss and gradient of one with the whole batch.

Even and uneven shares, and a process without any row where the loss is of all rows. Run as a
script, this file is the processes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import gloo
from tacit import losses
from tacit.distributed import (
    all_gather,
    all_reduce_mean,
    as_global_mean,
    broadcast_float,
    count_rows,
    rank,
    world_size,
)
from tacit.losses.fmri import balanced_edge_bce
from tacit.parts import CorrelationEMA

ROWS, DIM = 12, 4
SHARES = {2: [(6, 6), (9, 3)], 3: [(4, 4, 4), (5, 6, 1)]}
IDS = torch.arange(ROWS) % (ROWS - 3)
Loss = Callable[[Tensor, Tensor, bool], Tensor]


def two_view(name: str) -> Loss:
    return lambda a, b, gather: getattr(losses, name)(a, b, gather=gather)


def cases(own: slice) -> dict[str, Loss]:
    names = ["nt_xent", "dcl", "dclw", "moco_v3", "nnclr", "nnclr_dcl", "barlow_twins", "vicreg"]
    out = {name: two_view(f"{name}_loss") for name in names}
    out["pair accuracy"] = lambda a, b, gather: (
        losses.pair_accuracy(a, b, gather=gather) + 0 * a[0, 0]
    )
    out["cross"] = lambda a, b, gather: losses.nt_xent(a, b, 0.5, "cross", gather=gather)
    out["dcl product"] = lambda a, b, gather: losses.dcl_loss(
        a, b, negatives="product", gather=gather
    )
    out["dcl with ids"] = lambda a, b, gather: losses.dcl_loss(
        a, b, gather=gather, instance_ids=IDS[own] if gather else IDS
    )
    out["uniform"] = lambda a, b, gather: losses.uniform_loss(a + b, gather=gather)
    out["mv infonce"] = lambda a, b, gather: losses.mv_infonce_loss([a, b], gather=gather)
    out["mv dhel"] = lambda a, b, gather: losses.mv_dhel_loss([a, b], gather=gather)
    out["edges"] = lambda a, b, gather: balanced_edge_bce(
        a @ a.mT, b @ b.mT > 0.5, b @ b.mT > -1, gather=gather
    )
    out["global mean"] = lambda a, b, gather: (
        as_global_mean((a * b).mean(), len(a)) if gather else (a * b).mean()
    )
    return out


def error(z: Tensor, own: slice, loss: Loss) -> float:
    """Of this process's share of the averaged loss and of its gradient."""
    whole, part = z.clone().requires_grad_(), z[:, own].clone().requires_grad_()
    want, got = loss(*whole, False), loss(*part, True)
    # Data-parallel training averages over the processes: loss and gradient.
    gradient = torch.autograd.grad(got, part)[0] / world_size()
    difference = gradient - torch.autograd.grad(want, whole)[0][:, own]
    value = (all_reduce_mean(got) - want.detach()).abs()
    return max(value.item(), difference.abs().sum().item())


def work() -> dict[str, float]:
    g, errors = torch.Generator().manual_seed(0), {}
    z = torch.randn(2, ROWS, DIM, generator=g, dtype=torch.float64)
    graphs = torch.randn(2, ROWS, 5, DIM, generator=g, dtype=torch.float64)
    scores = torch.rand(ROWS, 5, generator=g, dtype=torch.float64)
    for shares in SHARES[world_size()]:
        rows = count_rows(shares[rank()])
        assert rows.counts == shares
        assert rows.total == ROWS
        for name, loss in cases(rows.own).items():
            data = graphs if name == "edges" else z
            errors[f"{name} {shares}"] = error(data, rows.own, loss)
        codes = losses.sinkhorn(scores[rows.own], gather=True)
        difference = codes - losses.sinkhorn(scores)[rows.own]
        errors[f"sinkhorn {shares}"] = difference.abs().max().item()
        running = CorrelationEMA(DIM, track_mean=True, track_cross=True).double()
        running.update(z[0, rows.own], targets=[z[1, rows.own]])
        for name, found, wanted in (
            ("statistics", running.corr, z[0].T @ z[0] / ROWS),
            ("statistics mean", running.mean, z[0].mean(0)),
            ("statistics cross", running.cross, z[1].T @ z[0] / ROWS),
        ):
            errors[f"{name} {shares}"] = (found - wanted).abs().max().item()
    # One process has all rows, the others none.
    own = slice(0, ROWS if rank() == 0 else 0)
    errors["none"] = error(z, own, lambda a, b, gather: cubes(all_gather(a) if gather else a))
    assert torch.equal(all_gather(torch.full((rank(),), rank())), everyone())
    assert broadcast_float(float(rank()) + 7) == 7
    return errors


def cubes(x: Tensor) -> Tensor:
    return x.pow(3).sum()


def everyone() -> Tensor:
    """1, 2, 2, ...: as many rows as the rank."""
    return torch.arange(world_size()).repeat_interleave(torch.arange(world_size()))


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs torch built with gloo")
def test_processes_are_one_batch(tmp_path):
    for world, results in gloo.start(__file__, tmp_path).items():
        assert len(results) == world
        for errors in results:
            assert len(errors) == 2 * (len(cases(slice(0))) + 4) + 1
            assert {name: e for name, e in errors.items() if not e < 1e-9} == {}


if __name__ == "__main__":
    gloo.main(work)
