"""What the network was shown: a few samples and the views that training made of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from tacit.data import open_source
from tacit.report.images import png_uri, to_uint8
from tacit.views import build_views

if TYPE_CHECKING:
    from tacit.run import Run

SAMPLES, MOST_VIEWS = 6, 8


class Example(NamedTuple):
    """A sample and its views as data URIs."""

    image: str
    views: list[str]


def examples(run: Run) -> list[Example]:
    """Six samples with views made as in training, from the recipe and its seed.

    Raises
    ------
    TacitError : the data cannot be opened any more.
    """
    recipe = run.recipe
    source = open_source(
        recipe.data, split=recipe.split, image_size=recipe.image_size, strict=recipe.strict
    )
    mean, std = _statistics(run) or source.statistics()
    views = build_views(
        recipe.views,
        image_size=recipe.image_size or source.shape[-1],
        channels=source.shape[0],
        mean=mean,
        std=std,
        n_views=recipe.n_views,
        **recipe.views_options,
    )
    chosen = np.random.default_rng(recipe.seed).permutation(len(source))[:SAMPLES]
    images = source.batch(chosen)
    made = views(images, torch.Generator().manual_seed(recipe.seed))[:MOST_VIEWS]
    shown = [to_uint8(view, mean, std) for view in made]
    return [
        Example(png_uri(image), [png_uri(view[i]) for view in shown])
        for i, image in enumerate(images)
    ]


def _statistics(run: Run) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that training normalised by; None where no encoder is saved."""
    path = run.path / "encoder.json"
    if not path.is_file():
        return None
    spec = json.loads(path.read_text(encoding="utf-8"))
    return spec["mean"], spec["std"]
