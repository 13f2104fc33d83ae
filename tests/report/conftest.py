"""Run folders made by hand: a network with random weights and invented curves."""

import csv
import json
import math

import pytest
import torch

from tacit.data import open_source
from tacit.encoders import build_encoder, save_encoder
from tacit.recipe import Recipe
from tacit.report import sample
from tacit.run import Run
from tacit.training.folder import RunFolder
from tacit.training.metrics import read_metrics

COLUMNS = ("rankme", "stable_rank", "feature_std", "uniformity", "width", "health")


def write_metrics(path, rows=30, collapse_at=None):
    """A look every second row; from `collapse_at` (a row) on, the rank is 2 and the alarm rings."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        first = ("step", "epoch", "seconds", "samples_per_second", "lr", "loss", "part")
        writer.writerow([*first, *COLUMNS])
        for i in range(1, rows + 1):
            loss = 5 * math.exp(-i / 10)
            row = [10 * i, i / 4, i * 2.0, 500 + i, 0.1 / i, loss, loss / 2]
            dead = collapse_at is not None and i >= collapse_at
            rank = 2.0 if dead else min(10.0 + 3 * i, 70.0)
            word = "warming up" if i <= 6 else "healthy"
            if collapse_at is not None and i >= collapse_at + 2:
                word = "dimensional collapse"
            look = [rank, rank / 3, 0.05, -2.5, 128.0, word]
            writer.writerow(row + (look if i % 2 == 0 else [""] * len(look)))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """t-SNE of 1500 points is most of the time that a page takes; here it takes what it takes."""
    monkeypatch.setattr(sample, "SAMPLES", 200)
    monkeypatch.setattr(sample, "SECONDS", float("inf"))


@pytest.fixture
def make_metrics(tmp_path):
    """make_metrics(rows=30, collapse_at=None) -> columns of such a file"""

    def make(**options):
        write_metrics(tmp_path / "metrics.csv", **options)
        return read_metrics(tmp_path / "metrics.csv")

    return make


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """make_run(data=..., encoder=True, collapse_at=None, status={...}, recipe={...}) -> Run"""
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))

    def make(
        data="digits", *, encoder=True, collapse_at=None, rows=30, status=None, recipe=None, to=None
    ):
        path = tmp_path / "run"
        path.mkdir()
        source = open_source(data, image_size=16 if data == "digits" else None, progress=False)
        settings = {"method": "simclr", "data": data if to is None else to, "encoder": "small"}
        settings |= {"image_size": source.shape[-1], "n_views": 2, "options": {}} | (recipe or {})
        (path / "recipe.yaml").write_text(Recipe.parse(settings).to_yaml())
        RunFolder.open(path).write_environment(7)
        torch.manual_seed(0)
        if encoder:
            channels, size = source.shape[0], source.shape[-1]
            mean, std = source.statistics()
            spec = {"name": "small", "in_channels": channels, "image_size": size}
            network = build_encoder("small", in_channels=channels, image_size=size)
            save_encoder(network, path, spec=spec | {"mean": mean, "std": std})
        if rows:
            write_metrics(path / "metrics.csv", rows, collapse_at)
            assert len(read_metrics(path / "metrics.csv")["step"]) == rows
        words = {"state": "finished", "step": 10 * rows, "seconds": 2.0 * rows, "skipped": []}
        words |= {"monitor_seconds": 1.0} | (status or {})
        (path / "status.json").write_text(json.dumps(words))
        return Run(path)

    return make
