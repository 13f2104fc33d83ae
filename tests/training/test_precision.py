"""Which precision is chosen, and that the monitor looks in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tacit
from tacit.training.resolve import bf16_pays


@pytest.mark.parametrize(
    ("amx", "avx", "modality", "pays"),
    [
        (True, False, "series", True),
        (False, True, "image", True),
        (False, True, "series", False),
        (False, False, "image", False),
    ],
)
def test_bf16_where_the_processor_has_it(  # type: ignore[no-untyped-def]
    monkeypatch, amx: bool, avx: bool, modality: str, pays: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    assert bf16_pays(modality) is pays


class Witness(nn.Module):
    """Notes in which precision it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 16)
        self.seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(nn.functional.adaptive_avg_pool2d(x, 8).mean(1).flatten(1))
        self.seen[self.training].add(y.dtype)
        return y


@pytest.mark.parametrize(("precision", "kind"), [("bf16", torch.bfloat16), ("32", torch.float32)])
def test_the_monitor_looks_in_the_precision_of_the_steps(
    tmp_path: Path, precision: str, kind: torch.dtype
) -> None:
    network = Witness()
    tacit.pretrain(
        "simclr",
        "digits",
        out=tmp_path / "run",
        encoder=network,
        precision=precision,
        steps=2,
        batch_size=32,
        progress=False,
    )
    assert network.seen[True] == {kind}
    assert kind in network.seen[False]  # its width is found in float32
