"""A saved encoder or a recipe from others names a network: no option of it may bring code along."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tacit.encoders import build_encoder, external, load_encoder, save_encoder
from tacit.errors import ConfigError, TacitError

SIZES = {"in_channels": 3, "image_size": 16}


class Config:
    """A configuration of transformers, as far as it is asked."""

    num_channels, hidden_size = 3, 4
    auto_map = {"AutoModel": "evil.py"}

    def to_dict(self) -> dict[str, Any]:
        return {"num_channels": 3, "hidden_size": 4}


class Network(torch.nn.Module):
    config = Config()

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return {"pooler_output": pixel_values.mean((2, 3))}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Libraries that note what they are called with."""
    seen: list[dict[str, Any]] = []

    def note(result: Any) -> Any:
        return lambda *args, **options: (seen.append(options), result())[1]

    library = types.SimpleNamespace(
        AutoConfig=types.SimpleNamespace(from_pretrained=note(Config)),
        AutoModel=types.SimpleNamespace(from_pretrained=note(Network), from_config=note(Network)),
        list_models=lambda: ["net"],
        models=types.SimpleNamespace(get_pretrained_cfg=lambda name: None),
        create_model=note(Network),
        Net=note(Network),
    )
    monkeypatch.setattr(external, "_import", lambda *names: library)
    return seen


@pytest.mark.parametrize("pretrained", [True, False])
def test_code_of_a_hub_is_never_trusted(pretrained: bool, calls: list[dict[str, Any]]) -> None:
    build_encoder("hf:org/net", **SIZES, pretrained=pretrained, hidden_size=4)
    assert calls
    assert all(call["trust_remote_code"] is False for call in calls)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *(("hf:org/net", o, True) for o in ("trust_remote_code", "weights_only", "auto_map")),
        ("hf:org/net", "attn_implementation", "org/kernel"),
        ("hf:org/net", "_attn_implementation", "org/kernel"),
        ("hf:org/net", "code_revision", "main"),
        *(("timm:net", o, "evil.pth") for o in ("checkpoint_path", "pretrained_cfg", "cache_dir")),
        ("timm:net", "pretrained_cfg_overlay", {"file": "evil.pth"}),
        ("timm:net", "pretrained_custom_load", "x"),
        ("monai:Net", "pretrained", "evil.pth"),
        ("monai:Net", "pretrained_model_name", "evil"),
        ("monai:Net", "bundle_dir", "evil"),
    ],
)
def test_options_that_load_files_or_code_are_refused(
    name: str, option: str, value: Any, calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=option):
        build_encoder(name, **SIZES, **{option: value})
    assert not any(option in call and call[option] is not False for call in calls)
    network = build_encoder("small", **SIZES)
    about = {"mean": [0.5] * 3, "std": [0.5] * 3, **SIZES}
    save_encoder(network, tmp_path, spec={"name": "small", **about})
    spec = json.loads((tmp_path / "encoder.json").read_text()) | {"name": name}
    del spec["checksum"]
    (tmp_path / "encoder.json").write_text(json.dumps(spec | {"options": {option: value}}))
    with pytest.raises(TacitError):
        load_encoder(tmp_path)
    assert not any(call.get("trust_remote_code") for call in calls)
