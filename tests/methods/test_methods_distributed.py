"""Every method on two and three processes equals one process on the concatenated batch.

Loss, its terms, every gradient, and after three steps every parameter and buffer. The last batch is
uneven. Gradients are averaged by DistributedDataParallel; on two processes also with weights that
are divided (FSDP). Masks of graphs and recordings are drawn by each process for its own samples;
here they follow from the data. Run as a script, this file is the processes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

import gloo
from tacit.data.graph import GraphBatch, GraphSetSource, GraphSource
from tacit.distributed import all_reduce_mean, rank, world_size
from tacit.encoders import Encoder, Features
from tacit.encoders.fmri import DynamicFCEncoder
from tacit.encoders.gnn import GNNEncoder, MoleculeEncoder
from tacit.encoders.series import FrameTransformer, MappedEncoder, ResNet1D
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.methods.base import Batch, Losses, Method, Progress
from tacit.methods.generative import _masked_autoencoder, graphmae, graphmae_molecules, st_mae
from tacit.recipe import OptimizerConfig
from tacit.registry import METHODS
from tacit.training import sharding
from tacit.training.optim import build_optimizer
from tacit.views.fmri_masks import FCMasks
from tacit.views.graph import MaskedNodes

# Rows of every process, step by step; their sums are the same for any number of processes.
SHARES = {
    1: [[12], [12], [10]],
    2: [[6, 6], [6, 6], [7, 3]],
    3: [[4, 4, 4], [4, 4, 4], [5, 3, 2]],
}
SMALL: dict[str, Any] = {
    "proj_hidden_dim": 12,
    "proj_output_dim": 6,
    "pred_hidden_dim": 8,
    "queue_size": 16,
    "n_prototypes": 5,
    "queue_start_epoch": 0,
    "freeze_prototypes_epochs": 0,
}
Case = tuple[str, dict[str, Any], int]
VARIANTS: list[Case] = [
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
    ("directpred", {"l2_normalize": False}, 2),
    ("byol", {"predictor": "symmetric_norm"}, 2),
    ("byol", {"predictor": "minimal_space"}, 2),
    ("byol", {"predictor": "half_rank"}, 2),
    ("wmse", {"w_size": 5, "w_iter": 2}, 3),
    ("graphmae", {"loss": "mse", "decoder_kind": "mlp"}, 1),
    ("graphmae", {"replace_rate": 0.5, "concat_hidden": True}, 1),
    ("st-mae", {"node_loss": "sce"}, 1),
    ("selftask", {"task": "node-property", "dropout": 0.0}, 1),
]
# With weights divided over the processes, every optimiser.
DIVIDED: list[tuple[str, dict[str, Any], int, str]] = [
    ("simclr", {}, 2, "adam"),
    ("byol", {}, 2, "lars"),
    ("swav", {}, 2, "muon"),
    ("directpred", {}, 2, "adamw"),
]
OWN: dict[str, dict[str, Any]] = {
    "wmse": {"w_size": 10, "proj_output_dim": 3},
    "neuronet": {"mask_ratio": 0.5, "dec_dim": 8, "dec_heads": 2},
    "frame-projections": {"wavelet_width": 2, "proj_dim": 6},
    "st-mae": {"windows": 3},
    "selftask": {"task": "pairwise-attribute-similarity", "mode": "pretext", "dropout": 0.0},
}


def cases() -> list[Case]:
    """Every method as it is, then the variants."""
    return [(name, {}, METHODS.get(name).n_views) for name in METHODS.names()] + VARIANTS


class Linear(Encoder):
    """A linear network: no batch norm, so that samples meet in the loss only."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.in_channels = 10, 3
        self.layer = nn.Linear(48, 10)

    def features(self, x: Tensor) -> Features:
        return Features(self.layer(x.flatten(1)))


def encoder(name: str) -> Encoder:
    if name == "neuronet":
        return FrameTransformer(1, 600, step_s=1.0, dim=8, heads=2, depth=1)
    if name == "frame-projections":
        return MappedEncoder(ResNet1D(1, base=4), 40)
    if name == "st-mae":
        return DynamicFCEncoder(n_rois=6, window=20, stride=10, dim=8, layers=1)
    if name == "graphmae-molecules":
        return MoleculeEncoder(hidden=8, layers=2)
    if name in ("graphmae", "selftask"):
        return GNNEncoder("gcn", 5, hidden=8, layers=1, feat_drop=0.0, attn_drop=0.0)
    return Linear()


def without_batchnorm(module: nn.Module) -> nn.Module:
    """Nor dropout: samples meet in the loss only, and nothing is drawn for each of them."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.Dropout):
            setattr(module, name, nn.Identity())
        elif isinstance(child, PositionBatchNorm):
            child.eval()
        else:
            without_batchnorm(child)
    return module


def make(name: str, options: dict[str, Any]) -> Method:
    cls = METHODS.get(name)
    known = cls.Config.model_fields if name != "selftask" else ()
    small = {key: value for key, value in SMALL.items() if key in known}
    torch.manual_seed(0)
    method = cls(encoder(name), cls.Config(**{**small, **OWN.get(name, {}), **options}))
    if name == "selftask":
        method.prepare(graphs(name, 0))
    return without_batchnorm(method).double()  # type: ignore[return-value]


def graphs(name: str, step: int) -> Any:
    """A set of small graphs, or one graph."""
    rng = np.random.default_rng(step)
    n, size = (30, 1) if name == "selftask" else (sum(SHARES[1][step]), 8)
    nodes = n * size
    if name == "selftask":
        edges = np.stack([np.arange(n), (np.arange(n) * 7 + 3) % n])
    else:
        start = size * np.arange(n)
        edges = np.concatenate([np.stack([start + k, start + k + 1]) for k in range(7)], axis=1)
    edges = np.concatenate([edges, edges[::-1]], axis=1)
    if name == "graphmae-molecules":
        x = np.stack([rng.integers(0, 8, nodes), np.zeros(nodes, np.int64)], axis=1)
        kinds = np.zeros((edges.shape[1], 2), np.int64)
        return GraphSetSource("toy", x, edges, np.full(n, size), edge_attr=kinds)
    x = rng.standard_normal((nodes, 5)).astype(np.float32)
    if name == "selftask":
        return GraphSource("toy", x, edges, np.arange(n) % 3, train=np.arange(9))
    return GraphSetSource("toy", x, edges, np.full(n, size))


def batch(name: str, step: int, n_views: int) -> Batch:
    """This process's share of the step's batch."""
    shares = SHARES[world_size()][step]
    first = sum(shares[: rank()])
    own = slice(first, first + shares[rank()])
    if "graph" in METHODS.get(name).modalities:
        places = np.arange(sum(shares))
        graph: GraphBatch = graphs(name, step).batch(places[own])
        x = graph.x.double() if graph.x.is_floating_point() else graph.x
        return Batch([replace(graph, x=x)])
    shape = {"neuronet": (1, 600), "frame-projections": (1, 40), "st-mae": (6, 90)}
    g = torch.Generator().manual_seed(step)
    rows = (sum(shares), *shape.get(name, (3, 4, 4)))
    image = torch.randn(rows, generator=g, dtype=torch.float64)
    noise = [torch.randn(rows, generator=g, dtype=torch.float64) for _ in range(n_views)]
    return Batch([(image + n)[own] for n in noise])


def whole(x: Any) -> Tensor:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


class Trained(nn.Module):
    """A method whose `forward` is its loss, as DistributedDataParallel wants it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> Losses:
        return self.method.training_loss(batch)


def train(
    name: str,
    options: dict[str, Any],
    n_views: int,
    optimizer_name: str = "sgd",
    divide: bool = False,
) -> dict[str, Tensor]:
    """Losses, gradients and the last state of a few steps on this process's share."""
    method, out = make(name, options), {}
    model: nn.Module = Trained(method)
    if divide and world_size() > 1:
        sharding.shard(model, init_device_mesh("cpu", (world_size(),)), ())
    parameters = [p for p in method.parameters() if p.requires_grad]
    config = OptimizerConfig(name=optimizer_name, lr=0.02, scale_lr=False)  # type: ignore[arg-type]
    optimizer = build_optimizer(method, config, global_batch=0)
    if not divide and world_size() > 1:
        model = DistributedDataParallel(model, forward_sync_buffers=False)
    for step in range(len(SHARES[1])):
        method.progress = Progress(step, step, step / 3)
        torch.manual_seed(step)
        optimizer.zero_grad()
        losses = model(batch(name, step, n_views))
        losses.total.backward()
        for key, value in {"loss": losses.total, **losses.parts}.items():
            out[f"{key} {step}"] = all_reduce_mean(value.detach())
        out[f"gradient {step}"] = torch.cat([whole(p.grad).flatten() for p in parameters])
        method.before_step()
        optimizer.step()
        method.after_step()
    sharding.make_whole(method)
    state = method.state_dict()
    return out | {f"last {key}": value for key, value in state.items() if isinstance(value, Tensor)}


def work() -> list[dict[str, Tensor]]:
    """All cases, with masks that follow from what is masked."""

    def nodes(n: int, mask_rate: float, replace_rate: float = 0.0, **_: Any) -> MaskedNodes:
        masked = torch.arange(1, n, 2)
        if not replace_rate:
            return MaskedNodes(masked, masked, masked[:0], masked[:0])
        noise = masked[masked % 8 == 1]
        return MaskedNodes(masked, masked[masked % 8 > 1], noise, noise + 5)

    def atoms(batch: Tensor, mask_rate: float) -> Tensor:
        return torch.arange(len(batch))[torch.arange(len(batch)) % 8 < 3]

    def pairs(adj: Tensor, *_: Any) -> FCMasks:
        n = adj.shape[-1]
        hidden = (torch.arange(n) % 2 == 0).expand(adj.shape[:-1])
        edges = (torch.arange(n)[:, None] + torch.arange(n)).remainder(3).eq(1).expand(adj.shape)
        return FCMasks(hidden, edges, adj.bool() & ~edges)

    def triples(windows: int, shape: tuple[int, ...], gap: int, *_: Any) -> tuple[Tensor, ...]:
        centre = (gap + torch.arange(shape[1]) % (windows - 2 * gap)).expand(shape)
        return centre - gap, centre, centre + gap

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphmae, "draw_masked_nodes", nodes)
        patch.setattr(graphmae_molecules, "draw_masked_atoms", atoms)
        patch.setattr(_masked_autoencoder, "mask_nodes_edges", pairs)
        patch.setattr(st_mae, "draw_triples", triples)
        patch.setattr(sharding, "SMALLEST", 0)
        every = [train(*case) for case in cases()]
        divided = DIVIDED if world_size() < 3 else []
        return every + [train(*case, divide=True) for case in divided]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[list[dict[str, Tensor]]]]:
    return gloo.start(__file__, tmp_path_factory.mktemp("gloo"))


@pytest.fixture(scope="module")
def one() -> list[dict[str, Tensor]]:
    return work()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
@pytest.mark.parametrize("world", gloo.WORLDS)
def test_several_processes_equal_one(
    world: int, several: dict[int, list[list[dict[str, Tensor]]]], one: list[dict[str, Tensor]]
) -> None:
    assert len(several[world]) == world
    wrong = []
    for process, results in enumerate(several[world]):
        assert len(results) == len(cases()) + (len(DIVIDED) if world == 2 else 0)
        for case, found, expected in zip([*cases(), *DIVIDED], results, one, strict=False):
            assert found.keys() == expected.keys(), case
            wrong += [
                f"{case}, process {process}: {key}"
                for key, value in found.items()
                if not torch.allclose(value, expected[key], rtol=1e-9, atol=1e-9)
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("index", range(len(cases())), ids=lambda i: str(cases()[i][:2]))
def test_something_is_learned(index: int, one: list[dict[str, Tensor]]) -> None:
    """What is compared is not trivial: finite, with gradients that are not zero."""
    for key, value in one[index].items():
        assert not value.is_floating_point() or torch.isfinite(value).all(), key
        if key.startswith("gradient"):
            assert value.abs().max() > 1e-6, key


if __name__ == "__main__":
    gloo.main(work)
