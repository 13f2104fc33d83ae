"""`prepare` before training, `finish` after it: what they see and when."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tacit
from tacit.data import Source
from tacit.errors import ConfigError, DataError
from tacit.methods.base import Losses, Method, Paper
from tacit.recipe import Recipe
from tacit.seeds import seed_torch


class Hooked(Method):
    """Records what its hooks are given."""

    paper = Paper("None", "Nobody", 2026, "https://example.org")
    modalities = ("image",)

    def __init__(self, encoder, config):
        super().__init__(encoder, config)
        self.weight = nn.Parameter(torch.ones(()))
        self.passes = []

    def prepare(self, source):
        assert isinstance(source, Source)
        Hooked.samples = len(source)

    def training_loss(self, batch):
        return Losses(self.encoder(batch.views[0]).square().mean() * self.weight)

    def finish(self, batches):
        assert not self.training
        assert torch.is_grad_enabled()
        first = [batch.views[0].clone() for batch in batches()]
        again = [batch.views[0].clone() for batch in batches()]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        Hooked.batches = len(first)
        with torch.no_grad():
            for parameter in self.encoder.parameters():
                parameter.zero_()

    @classmethod
    def default_recipe(cls, modality="image"):
        return Recipe(views="none", n_views=1, batch_size=64)


def test_hooks(tmp_path):
    run = tacit.pretrain(Hooked, "digits", steps=3, out=tmp_path / "run", progress=False)
    assert Hooked.samples == 1797
    assert Hooked.batches == (1797 - 179) // 64
    assert all((p == 0).all() for p in run.encoder.parameters())  # finish comes before the files


def test_a_method_for_other_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"trains on image data, but .* is graph data"):
        tacit.pretrain(Hooked, "planetoid:cora", out=tmp_path / "run", progress=False)


def test_a_recipe_for_other_data_is_refused(tmp_path):
    recipe = Recipe(modality="series", data="digits", batch_size=8)
    with pytest.raises(DataError, match="is image data, but the recipe is for series data"):
        tacit.pretrain(None, "digits", recipe=recipe, out=tmp_path / "run", progress=False)


def test_a_run_that_never_began_leaves_no_folder(tmp_path):
    with pytest.raises(DataError, match="fewer than one batch"):
        tacit.pretrain("simclr", "digits", batch_size=5000, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    with pytest.raises(DataError):
        tacit.pretrain("simclr", "digits", batch_size=5000, out=kept, progress=False)
    assert [file.name for file in kept.iterdir()] == ["notes.txt"]


def test_one_class_cannot_be_evaluated(tmp_path):
    images = torch.randint(0, 255, (60, 16, 16), dtype=torch.uint8).numpy()
    labels = torch.zeros(60, dtype=torch.long).numpy()
    run = tacit.pretrain(
        Hooked, (images, labels), steps=1, batch_size=16, out=tmp_path / "run", progress=False
    )
    with pytest.raises(DataError, match="one class only"):
        run.evaluate("knn", data=(images, labels))
    with pytest.raises(ValueError, match="Did you mean 'knn'"):
        run.evaluate("kn", data=(images, labels))


def test_the_monitor_looks_as_often_as_its_reservoir_allows(tmp_path):
    """With few held-out samples a look is cheap: many of them in a short run."""
    run = tacit.pretrain(
        "simclr", "digits", steps=2, batch_size=256, out=tmp_path / "run", progress=False
    )
    held = 179  # a tenth of 1797
    assert run.recipe.monitor.every == 10 * max(1, -(-int(held / (3 * 512) / 0.02) // 10))


def test_seed_torch_is_manual_seed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_torch(5)
    assert torch.equal(torch.rand(3), expected)
