"""All criteria in one call: values, blocks, memory maps, names, and what is undefined."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tacit.evaluation as ev
from tacit.cli import app
from tacit.errors import DataError
from tacit.evaluation import inputs, spectrum
from tacit.evaluation.criteria import DIRECTIONS

SINGLE = {
    "rankme": ev.rankme,
    "alpha_req": ev.alpha_req,
    "nesum": ev.nesum,
    "stable_rank": ev.stable_rank,
    "coherence": ev.coherence,
    "condition_number": ev.condition_number,
    "self_cluster": ev.self_cluster,
    "covariance_rank": ev.covariance_rank,
    "participation_ratio": ev.participation_ratio,
    "spectral_entropy": ev.spectral_entropy,
    "feature_std": ev.feature_std,
    "feature_std_ratio": ev.feature_std_ratio,
    "two_nn_dimension": ev.two_nn_dimension,
}


def embeddings(n: int = 300, d: int = 12) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g) * torch.linspace(1, 0.2, d) + 0.5


def test_equal_to_the_single_functions_and_inside_their_range() -> None:
    z = embeddings()
    results = ev.criteria(z)
    assert set(results) == set(DIRECTIONS) - {"lidar"}
    for name, function in SINGLE.items():
        assert results[name].value == pytest.approx(function(z), abs=1e-9), name
    for name, (value, direction, (low, high)) in results.items():
        assert direction == DIRECTIONS[name]
        assert low - 1e-4 <= value <= high + 1e-4, name
    assert results["total_variance"].value == pytest.approx(float(z.var(0).sum()), rel=1e-5)
    unit = torch.nn.functional.normalize(z.double())
    assert results["uniformity"].value == pytest.approx(float(ev.uniformity(unit)), abs=1e-9)
    assert results["alpha_req"].direction == "target"
    assert results["coherence"].range == (1.0, 25.0)


def test_blocks_and_memory_maps_give_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = embeddings(1000)
    whole = ev.criteria(z)
    np.save(tmp_path / "z.npy", z.numpy())
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 37 * 12 * 8)
    monkeypatch.setattr(spectrum, "DENSE_NUMBERS", 0)
    for name, result in ev.criteria(mapped).items():
        assert result.value == pytest.approx(whole[name].value, abs=1e-8), name


def test_grouped_rows_add_lidar() -> None:
    z = embeddings(200).view(50, 4, 12)
    results = ev.criteria(z)
    assert results["lidar"].value == pytest.approx(ev.lidar(z), abs=1e-12)
    assert results["rankme"].value == pytest.approx(ev.rankme(z.flatten(0, 1)), abs=1e-9)


def test_names() -> None:
    z = embeddings()
    assert list(ev.criteria(z, ["nesum", "rankme"])) == ["nesum", "rankme"]
    assert list(ev.criteria(z, "rankme")) == ["rankme"]
    with pytest.raises(ValueError, match="Did you mean 'rankme'"):
        ev.criteria(z, ["rankmee"])
    with pytest.raises(ValueError, match="grouped"):
        ev.criteria(z, "lidar")


def test_undefined_criteria_are_nan_for_identical_rows() -> None:
    results = ev.criteria(torch.full((64, 8), 0.3))
    for name in ("nesum", "alpha_req", "participation_ratio", "two_nn_dimension"):
        assert math.isnan(results[name].value), name
    assert results["rankme"].value == pytest.approx(1.0, abs=1e-4)
    assert results["feature_std"].value == 0.0
    assert results["uniformity"].value == pytest.approx(0.0, abs=1e-12)


def test_half_precision_and_gradients() -> None:
    z = embeddings().half().requires_grad_()
    value = ev.criteria(z, "rankme")["rankme"].value
    assert value == pytest.approx(ev.rankme(z.detach().double()), abs=1e-9)


def test_online_criteria() -> None:
    z = embeddings()
    online = ev.online_criteria(z)
    full = ev.criteria(z)
    for name in ("rankme", "stable_rank", "alpha_req", "feature_std", "total_variance"):
        assert online[name] == pytest.approx(full[name].value, abs=1e-9), name
    assert online["uniformity"] == pytest.approx(full["uniformity"].value, abs=0.05)
    assert online["width"] == 12
    assert all(isinstance(v, float) for v in online.values())


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_online_criteria_of_constant_outputs_do_not_raise(value: float) -> None:
    online = ev.online_criteria(torch.full((128, 8), value))
    assert online["rankme"] == pytest.approx(1.0, abs=1e-4)
    assert online["feature_std"] == 0.0
    assert math.isnan(online["alpha_req"])


def test_one_row() -> None:
    online = ev.online_criteria(torch.ones(1, 4))
    assert math.isnan(online["feature_std"])
    assert online["rankme"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["table.parquet", "arrays.npz", "empty.npy", "texts.npy"])
def test_files_that_are_no_matrix_are_a_message(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "arrays.npz", x=np.eye(3))
    np.save(tmp_path / "texts.npy", np.array([["a", "b"]]))
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.npy").touch()
    done = CliRunner().invoke(app, ["criteria", str(tmp_path / name)])
    assert isinstance(done.exception, DataError)
    assert "Write one with: tacit embed" in str(done.exception)
