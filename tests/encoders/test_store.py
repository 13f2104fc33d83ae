from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tacit import __version__
from tacit.encoders import ModuleEncoder, build_encoder, export_encoder, load_encoder, save_encoder
from tacit.errors import ConfigError, TacitError


def spec_of(name: str, **options):
    return {
        "name": name,
        "options": options,
        "in_channels": 3,
        "image_size": 32,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
    }


def trained(name: str, **options):
    """An encoder whose running statistics are not the initial ones."""
    torch.manual_seed(0)
    encoder = build_encoder(name, in_channels=3, image_size=32, **options)
    encoder(torch.randn(4, 3, 32, 32))
    return encoder


@pytest.mark.parametrize(
    ("name", "options"), [("small", {}), ("vit_ti", {"depth": 1, "registers": 2})]
)
def test_round_trip(tmp_path, name, options):
    encoder = trained(name, **options).to(memory_format=torch.channels_last)
    spec = {**spec_of(name, **options), "method": "simclr"}
    assert save_encoder(encoder, tmp_path / "new" / "folder", spec=spec) == tmp_path / "new/folder"
    assert encoder.training
    loaded, read = load_encoder(tmp_path / "new" / "folder")
    assert not loaded.training
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(x), encoder.eval()(x), rtol=1e-4, atol=1e-5)
    about = {"modality": "image", "dim": encoder.dim, "tacit_version": __version__}
    assert read == {**spec, **about}
    assert {p.name for p in (tmp_path / "new/folder").iterdir()} == {
        "encoder.safetensors",
        "encoder.json",
    }


def test_an_own_module_needs_to_be_given_again(tmp_path):
    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    encoder = ModuleEncoder(make(), in_channels=3, image_size=32)
    save_encoder(encoder, tmp_path, spec=spec_of("Sequential"))
    with pytest.raises(TacitError, match="Pass it as module="):
        load_encoder(tmp_path)
    loaded, _ = load_encoder(tmp_path, module=make())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), encoder.eval()(x))


def test_weights_are_plain_safetensors(tmp_path):
    encoder = trained("small")
    save_encoder(encoder, tmp_path, spec=spec_of("small"))
    weights = load_file(tmp_path / "encoder.safetensors")
    assert list(weights) == sorted(encoder.state_dict()) or set(weights) == set(
        encoder.state_dict()
    )
    assert all(torch.equal(weights[key], value) for key, value in encoder.state_dict().items())


def test_a_single_exported_file_loads_too(tmp_path):
    encoder = trained("small")
    path = export_encoder(encoder, spec_of("small"), tmp_path / "net.safetensors")
    loaded, spec = load_encoder(path)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), encoder.eval()(x))
    assert spec["mean"] == [0.5, 0.4, 0.3]


def test_saving_again_replaces(tmp_path):
    save_encoder(trained("vit_ti", depth=1), tmp_path, spec=spec_of("vit_ti", depth=1))
    save_encoder(trained("small"), tmp_path, spec=spec_of("small"))
    assert load_encoder(tmp_path)[1]["name"] == "small"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_encoder(trained("small"), tmp_path, spec=spec_of("small"))
    before = (tmp_path / "encoder.safetensors").read_bytes()

    def half(tensors, path, **kwargs):
        path.write_bytes(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr("tacit.encoders.store.save_file", half)
    with pytest.raises(TacitError, match="No space left"):
        save_encoder(trained("small"), tmp_path, spec=spec_of("small"))
    assert (tmp_path / "encoder.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_an_incomplete_spec_is_refused(tmp_path):
    spec = spec_of("small")
    del spec["mean"], spec["std"]
    with pytest.raises(ConfigError, match="lacks mean, std"):
        save_encoder(trained("small"), tmp_path, spec=spec)
    with pytest.raises(ConfigError, match="std has 1 values for 3 channels"):
        save_encoder(trained("small"), tmp_path, spec={**spec_of("small"), "std": [1.0]})


@pytest.fixture
def saved(tmp_path):
    return save_encoder(trained("small"), tmp_path, spec=spec_of("small"))


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.json"])
def test_missing_files(saved, name):
    (saved / name).unlink()
    with pytest.raises(TacitError, match=rf"{name}' does not exist"):
        load_encoder(saved)


def test_a_missing_path(tmp_path):
    with pytest.raises(TacitError, match="does not exist"):
        load_encoder(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_truncated_weights(saved, keep):
    path = saved / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TacitError, match="damaged"):
        load_encoder(saved)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"small"'])
def test_damaged_descriptions(saved, text):
    (saved / "encoder.json").write_text(text)
    with pytest.raises(TacitError, match="save the encoder again"):
        load_encoder(saved)


def test_descriptions_that_lack_or_contradict(saved):
    path = saved / "encoder.json"
    spec = json.loads(path.read_text())
    del spec["checksum"]  # written by hand
    path.write_text(json.dumps({**spec, "name": "vit_ti"}))
    with pytest.raises(TacitError, match="do not fit the encoder 'vit_ti'"):
        load_encoder(saved)
    path.write_text(json.dumps({**spec, "in_channels": 1}))
    with pytest.raises(TacitError, match="do not fit"):
        load_encoder(saved)
    path.write_text(json.dumps({**spec, "name": "smal"}))
    with pytest.raises(TacitError, match="Did you mean 'small'"):
        load_encoder(saved)
    del spec["mean"]
    path.write_text(json.dumps(spec))
    with pytest.raises(TacitError, match="lacks mean"):
        load_encoder(saved)


def test_weights_alone_say_that_they_are_not_enough(saved):
    with pytest.raises(TacitError, match="not what network"):
        load_encoder(saved / "encoder.safetensors")


def test_a_path_that_is_a_file(saved):
    with pytest.raises(TacitError, match="cannot make the folder"):
        save_encoder(trained("small"), saved / "encoder.json", spec=spec_of("small"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 5),
        ("modality", ["image"]),
        ("options", [1]),
        ("image_size", "big"),
        ("image_size", -3),
        ("image_size", 1e400),
        ("in_channels", 10**12),
        ("mean", []),
        ("mean", ["a", "b", "c"]),
        ("mean", [0.0, float("nan"), 0.0]),
        ("std", None),
        ("std", [0.1, 0.0, 0.1]),
        ("rate", -1),
    ],
)
def test_impossible_values_are_refused_and_named(tmp_path, name, value):
    save_encoder(trained("small"), tmp_path, spec=spec_of("small"))
    spec = json.loads((tmp_path / "encoder.json").read_text())
    del spec["checksum"]  # who forges the one leaves out the other
    (tmp_path / "encoder.json").write_text(json.dumps(spec | {name: value}))
    with pytest.raises(TacitError, match=rf"encoder\.json' is damaged \({name} is"):
        load_encoder(tmp_path)
