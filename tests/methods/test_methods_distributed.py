"""Every method on two processes equals one process on the concatenated batch.

Run as a script, this file is one of the two processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tacit.distributed import all_reduce_mean, rank, world_size
from tacit.encoders import Encoder, Features
from tacit.encoders.series import FrameTransformer
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.methods.base import Batch, Method, Progress
from tacit.registry import METHODS

ROWS, STEPS = 16, 2
SMALL: dict[str, Any] = {
    "proj_hidden_dim": 12,
    "proj_output_dim": 6,
    "pred_hidden_dim": 8,
    "queue_size": 16,
    "n_prototypes": 5,
    "queue_start_epoch": 0,
    "freeze_prototypes_epochs": 0,
    "w_size": 16,
}
VARIANTS: list[tuple[str, dict[str, Any], int]] = [
    ("moco-v2", {"loss": "dcl"}, 2),
    ("moco-v2", {"symmetric": False}, 2),
    ("nnclr", {"loss": "dcl"}, 2),
    ("simclr", {}, 3),
    ("multi-view", {"loss": "avg"}, 3),
    ("multi-view", {"loss": "pvc"}, 3),
    ("multi-view", {"loss": "multi_positive"}, 3),
    ("multi-view", {"loss": "pwe", "pair_loss": "dhel"}, 3),
    ("swav", {}, 4),
    ("cacr-queue", {"intra_batch": False}, 3),
    ("cacr-moco-v3", {"full_mode": True}, 4),
    ("cacr-moco-v3", {"form": "euclidean"}, 3),
    ("directpred", {"freq": 2, "zero_mean": True}, 2),
    ("byol", {"predictor": "symmetric_norm"}, 2),
    ("byol", {"predictor": "minimal_space"}, 2),
    ("byol", {"predictor": "half_rank"}, 2),
    ("wmse", {"w_size": 8, "w_iter": 2, "proj_output_dim": 3}, 3),
]
SERIES: list[tuple[str, dict[str, Any], int]] = [
    ("neuronet", {"mask_ratio": 0.5, "dec_dim": 8, "dec_heads": 2}, 1)
]


class Linear(Encoder):
    """A linear network: no batch norm, so that samples meet in the loss only."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.in_channels = 10, 3
        self.layer = nn.Linear(48, 10)

    def features(self, x: Tensor) -> Features:
        return Features(self.layer(x.flatten(1)))


def cases() -> list[tuple[str, dict[str, Any], int]]:
    """Every method as it is, then the variants."""
    images = [name for name in METHODS.names() if "image" in METHODS.get(name).modalities]
    return [(name, {}, METHODS.get(name).n_views) for name in images] + VARIANTS + SERIES


def without_batchnorm(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            setattr(module, name, nn.Identity())
        elif isinstance(child, PositionBatchNorm):
            child.eval()
        else:
            without_batchnorm(child)
    return module


def make(name: str, options: dict[str, Any]) -> Method:
    cls = METHODS.get(name)
    small = {key: value for key, value in SMALL.items() if key in cls.Config.model_fields}
    torch.manual_seed(0)
    encoder: Encoder = Linear()
    if "image" not in cls.modalities:
        encoder = FrameTransformer(1, 600, step_s=1.0, dim=8, heads=2, depth=1)
    method = cls(encoder, cls.Config(**{**small, **options}))
    return without_batchnorm(method).double()  # type: ignore[return-value]


def train(name: str, options: dict[str, Any], n_views: int) -> dict[str, Tensor]:
    """Losses and encoder gradients of a few steps on this process's share of the batches."""
    method, out = make(name, options), {}
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02)
    for step in range(STEPS):
        method.progress = Progress(step, step, step / STEPS)
        g = torch.Generator().manual_seed(step)
        shape = (3, 4, 4) if isinstance(method.encoder, Linear) else (1, 600)
        image = torch.randn(ROWS, *shape, generator=g, dtype=torch.float64)
        noise = [torch.randn(image.shape, generator=g).double() for _ in range(n_views)]
        views = [(image + n).chunk(world_size())[rank()] for n in noise]
        optimizer.zero_grad()
        loss = method.training_loss(Batch(views)).total
        loss.backward()
        for p in parameters:
            p.grad = all_reduce_mean(p.grad)
        out[f"loss {step}"] = all_reduce_mean(loss.detach())
        first = next(p for p in method.encoder.parameters() if p.requires_grad and p.ndim > 1)
        out[f"gradient {step}"] = first.grad.clone()
        method.before_step()
        optimizer.step()
        method.after_step()
    return out


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("gloo")
    command = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    processes = [
        subprocess.Popen([*command, str(r)], stderr=subprocess.PIPE, text=True) for r in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return torch.load(folder / "results.pt")


@pytest.mark.parametrize("index", range(len(cases())), ids=lambda i: str(cases()[i][:2]))
def test_two_processes_equal_one(index: int, two_processes: list[dict[str, Tensor]]) -> None:
    expected = train(*cases()[index])
    for key, value in two_processes[index].items():
        assert torch.isfinite(value).all(), key
        assert torch.allclose(value, expected[key], rtol=1e-9, atol=1e-9), key


def main(folder: Path, own_rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=own_rank, world_size=2
    )
    results = [train(*case) for case in cases()]
    if own_rank == 0:
        torch.save(results, folder / "results.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # torch's own teardown at exit aborts now and then with a gloo thread alive


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
