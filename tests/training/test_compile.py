"""`compile: true`: the networks are compiled in place, and only where that works."""

from __future__ import annotations

import shutil

import pytest
import torch

import tacit
from tacit.errors import ConfigError, TacitError
from tacit.registry import METHODS
from tacit.training.build import build_method, compile_networks
from tacit.training.explain import explain
from tacit.training.folder import RunFolder
from tacit.training.metrics import read_metrics

SPEC = {"in_channels": 1, "image_size": 16}


@pytest.mark.parametrize("forward_batch", [None, 4])
def test_networks_are_compiled_in_place(forward_batch):
    recipe = tacit.Recipe(method="byol", encoder="small", forward_batch=forward_batch)
    method = build_method(METHODS.get("byol"), recipe, SPEC)
    names = list(method.state_dict())
    compile_networks(method)
    assert list(method.state_dict()) == names
    encoder = method.encoder.encoder if forward_batch else method.encoder
    assert encoder._compiled_call_impl is not None
    assert method.encoder._compiled_call_impl is None or not forward_batch


def test_divided_weights_are_not_compiled(tmp_path):
    with pytest.raises(ConfigError, match="ddp, not with fsdp"):
        tacit.pretrain(
            "simclr", "digits", out=tmp_path / "run", compile=True, steps=1, strategy="fsdp"
        )


def test_graphs_are_not_compiled(tmp_path):
    pytest.importorskip("torch_geometric")
    import numpy as np

    edges = np.stack([np.arange(40), (np.arange(40) + 1) % 40])
    np.savez(tmp_path / "ring.npz", x=np.eye(40, dtype=np.float32), edge_index=edges)
    with pytest.raises(ConfigError, match="compile is for data of image and series"):
        tacit.pretrain(
            "graphmae",
            f"graph:{tmp_path / 'ring.npz'}",
            out=tmp_path / "run",
            compile=True,
            steps=1,
        )


def test_a_compiler_that_fails_is_said(tmp_path):
    error = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})("no g++")
    said = explain(error, tacit.Recipe(), RunFolder(tmp_path))
    assert isinstance(said, TacitError)
    assert "could not be compiled: no g++" in str(said)
    assert "InductorError" in str(explain(type(error)(), tacit.Recipe(), RunFolder(tmp_path)))


def test_a_kernel_that_does_not_repeat_is_said(tmp_path):
    error = RuntimeError(
        "upsample_bicubic2d_backward_out_cuda does not have a deterministic implementation, but "
        "you set 'torch.use_deterministic_algorithms(True)'."
    )
    said = str(explain(error, tacit.Recipe(), RunFolder(tmp_path)))
    assert said.startswith(
        "upsample_bicubic2d_backward_out_cuda has no kernel on GPUs that repeats"
    )
    assert "--set repeatable=false" in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for CPUs with g++")
def test_compiled_training_equals_the_plain_one(tmp_path):
    options = {
        "steps": 4, "batch_size": 16, "image_size": 16, "encoder": "small", "precision": "32",
        "monitor_every": 2, "monitor": {"samples": 32}, "progress": False,
    }  # fmt: skip
    runs = [
        tacit.pretrain("simclr", "digits", out=tmp_path / str(c), compile=c, **options)
        for c in (False, True)
    ]
    torch._dynamo.reset()
    plain, compiled = (read_metrics(run.path / "metrics.csv")["loss"] for run in runs)
    assert compiled == pytest.approx(plain, rel=1e-3)
    mine, other = (run.encoder.state_dict() for run in runs)
    for name in mine:
        torch.testing.assert_close(mine[name], other[name], rtol=1e-2, atol=1e-3)
