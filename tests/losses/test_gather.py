"""With ``gather=True`` two processes give the loss and gradient of one with the whole batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tacit import losses
from tacit.parts import CorrelationEMA

WORLD, ROWS, DIM = 2, 6, 4
IDS = torch.arange(WORLD * ROWS) % (ROWS + 3)


def two_view(name):
    return lambda a, b, gather: getattr(losses, name)(a, b, gather=gather)


def cases(rank):
    own = slice(rank * ROWS, (rank + 1) * ROWS)
    names = ["nt_xent", "dcl", "dclw", "moco_v3", "nnclr", "nnclr_dcl", "barlow_twins", "vicreg"]
    out = {name: two_view(f"{name}_loss") for name in names}
    out["dcl with ids"] = lambda a, b, gather: losses.dcl_loss(
        a, b, gather=gather, instance_ids=IDS[own] if gather else IDS
    )
    out["uniform"] = lambda a, b, gather: losses.uniform_loss(a + b, gather=gather)
    return out


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD
    )
    g = torch.Generator().manual_seed(0)
    z = torch.randn(2, WORLD * ROWS, DIM, generator=g, dtype=torch.float64)
    own = slice(rank * ROWS, (rank + 1) * ROWS)
    errors = {}
    for name, loss in cases(rank).items():
        whole, part = z.clone().requires_grad_(), z[:, own].clone().requires_grad_()
        want, got = loss(*whole, False), loss(*part, True)
        # Data-parallel training averages over the ranks: loss and gradient.
        grad = torch.autograd.grad(got, part)[0] / WORLD
        mean = got.detach() / WORLD
        dist.all_reduce(mean)
        errors[name] = max(
            (mean - want.detach()).abs().item(),
            (grad - torch.autograd.grad(want, whole)[0][:, own]).abs().max().item(),
        )
    scores = torch.rand(WORLD * ROWS, 5, generator=g, dtype=torch.float64)
    codes = losses.sinkhorn(scores[own], gather=True)
    errors["sinkhorn"] = (codes - losses.sinkhorn(scores)[own]).abs().max().item()
    running = CorrelationEMA(DIM).double()
    running.update(z[0, own])
    errors["correlation"] = (running.corr - z[0].T @ z[0] / len(z[0])).abs().max().item()
    torch.save(errors, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # torch's own teardown at exit aborts now and then with a gloo thread alive


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs torch built with gloo")
def test_two_processes_are_one_batch(tmp_path):
    mp.spawn(work, (str(tmp_path),), WORLD)
    for rank in range(WORLD):
        errors = torch.load(tmp_path / f"{rank}.pt")
        assert len(errors) == 12
        assert {name: e for name, e in errors.items() if not e < 1e-9} == {}
