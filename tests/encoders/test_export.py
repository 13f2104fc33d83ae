from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from tacit.encoders import NormalizedEncoder, ResNet, build_encoder, export_encoder
from tacit.encoders.resnet import BasicBlock
from tacit.errors import ConfigError, MissingExtraError, TacitError

CASES = [
    ("small", {}),
    ("one-block-resnet", {}),
    ("vit_ti", {"depth": 1, "registers": 1, "patch_size": 8}),
]


def make(name: str, options: dict):
    torch.manual_seed(0)
    if name == "one-block-resnet":
        encoder = ResNet(BasicBlock, (1, 1, 1, 1), in_channels=3, image_size=16)
    else:
        encoder = build_encoder(name, in_channels=3, image_size=16, **options)
    encoder(torch.randn(4, 3, 16, 16))
    spec = {
        "name": name,
        "options": options,
        "in_channels": 3,
        "image_size": 16,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
    }
    return encoder, spec


def expected(encoder, spec, images):
    mean, std = (torch.tensor(spec[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return encoder.eval()((images - mean) / std)


def test_the_wrapper_normalises():
    encoder, spec = make("small", {})
    wrapper = NormalizedEncoder(encoder, mean=spec["mean"], std=spec["std"]).eval()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(wrapper(images), expected(encoder, spec, images))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_torchscript_gives_equal_outputs(tmp_path, name, options):
    encoder, spec = make(name, options)
    path = export_encoder(encoder, spec, tmp_path / "net.pt", format="torchscript")
    assert encoder.training  # the encoder itself is left as it was
    network = torch.jit.load(str(path))
    for count in (1, 5):
        images = torch.rand(count, 3, 16, 16)
        torch.testing.assert_close(
            network(images), expected(encoder, spec, images), rtol=1e-4, atol=1e-5
        )
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_normalisation_can_be_left_out(tmp_path):
    encoder, spec = make("small", {})
    path = export_encoder(
        encoder, spec, tmp_path / "net.pt", format="torchscript", include_normalisation=False
    )
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.jit.load(str(path))(x), encoder.eval()(x))


class Sometimes(nn.Module):
    """A network whose path depends on its input: a trace of it would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        maps = self.layer(x)
        return maps if float(x.sum()) > float(0.45 * x.numel()) * 2 + len(x) else -maps * len(x)


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_networks_that_cannot_be_traced_are_refused(tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    _, spec = make("small", {})
    encoder = build_encoder(Sometimes(), in_channels=3, image_size=16)
    with pytest.raises(TacitError, match=f"cannot be exported as {kind}"):
        export_encoder(encoder, spec, tmp_path / "net", format=kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "options"), CASES)
def test_onnx_gives_equal_outputs_for_any_batch(tmp_path, name, options):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    encoder, spec = make(name, options)
    path = export_encoder(encoder, spec, tmp_path / "net.onnx", format="onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["images"]
    assert [entry.name for entry in session.get_outputs()] == ["features"]
    for count in (1, 5):
        images = torch.rand(count, 3, 16, 16)
        (features,) = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(
            features, expected(encoder, spec, images).numpy(), rtol=1e-3, atol=1e-4
        )


def test_onnx_without_its_packages(tmp_path, monkeypatch):
    encoder, spec = make("small", {})

    def refuse(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"tacit\[onnx\]"):
        export_encoder(encoder, spec, tmp_path / "net.onnx", format="onnx")
    assert list(tmp_path.iterdir()) == []


def test_safetensors_carry_the_description(tmp_path):
    encoder, spec = make("small", {})
    path = export_encoder(encoder, spec, tmp_path / "net.safetensors")
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tacit"])
        assert set(file.keys()) == set(encoder.state_dict())
    assert header["dim"] == encoder.dim
    assert header["std"] == spec["std"]


def test_unknown_formats_and_folders(tmp_path):
    encoder, spec = make("small", {})
    with pytest.raises(ConfigError, match="unknown format 'tflite'"):
        export_encoder(encoder, spec, tmp_path / "net", format="tflite")
    for kind in ("safetensors", "torchscript"):
        with pytest.raises(TacitError, match="cannot write"):
            export_encoder(encoder, spec, tmp_path / "no" / "folder" / "net", format=kind)


def test_series_take_their_own_unit_and_graphs_are_refused(tmp_path):
    from tacit.modalities import modality

    spec = {"modality": "series", "name": "resnet1d", "in_channels": 2, "length": 64, "rate": None}
    spec |= {"mean": [5.0, -1.0], "std": [2.0, 0.5]}
    encoder = modality("series").build_encoder("resnet1d", spec, {"base": 8}).eval()
    spec["options"] = {"base": 8}
    path = export_encoder(encoder, spec, tmp_path / "net.pt", "torchscript")
    x = torch.randn(5, 2, 64) * 2 + 5
    wanted = encoder(modality("series").eval_view(spec)(x))
    torch.testing.assert_close(torch.jit.load(path)(x), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="graph data has no onnx form"):
        export_encoder(encoder, {"modality": "graph", "name": "gat"}, tmp_path / "g.onnx", "onnx")
