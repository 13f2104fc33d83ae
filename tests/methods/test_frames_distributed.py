"""The loss of Frame Projections on two processes equals one process on the whole batch.

Run as a script, this file is one of the two processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tacit.distributed import all_reduce_mean, rank, world_size
from tacit.encoders.series import FourierEncoder, ScalogramEncoder
from tacit.methods.contrastive._frames import FrameBranches


def loss_and_gradients() -> dict[str, Tensor]:
    """Of this process's share of 12 outputs of the encoders."""
    torch.manual_seed(0)
    branches = FrameBranches(
        16, FourierEncoder(1, 32, base=2), ScalogramEncoder(1, 48, 32, base=4), proj_dim=8
    ).double()
    g = torch.Generator().manual_seed(1)
    h = {
        name: torch.randn(12, 16, generator=g, dtype=torch.float64).chunk(world_size())[rank()]
        for name in ("time", "fourier", "wavelet")
    }
    total, parts = branches.loss(h)
    total.backward()
    out = {"loss": all_reduce_mean(total)}
    out |= {name: all_reduce_mean(part) for name, part in parts.items()}
    for name, p in branches.named_parameters():
        if p.grad is not None:
            out[name] = all_reduce_mean(p.grad)
    return out


def test_two_processes_equal_one(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).resolve()), str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(r)], stderr=subprocess.PIPE, text=True) for r in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    found, expected = torch.load(tmp_path / "results.pt"), loss_and_gradients()
    assert found.keys() == expected.keys()
    assert any("projectors" in key for key in found)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value.detach(), rtol=1e-9, atol=1e-12, msg=key)


def main(folder: Path, own_rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=own_rank, world_size=2
    )
    results = {key: value.detach() for key, value in loss_and_gradients().items()}
    if own_rank == 0:
        torch.save(results, folder / "results.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # torch's own teardown at exit aborts now and then with a gloo thread alive


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
else:
    pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
