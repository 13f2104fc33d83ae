"""What the network was shown: a few samples and the views that training made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.data import open_source
from tacit.encoders.store import read_spec
from tacit.errors import TacitError
from tacit.modalities import modality
from tacit.report.images import to_uint8
from tacit.report.pictures import pictures

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
    TacitError : the data cannot be opened any more, or has no picture.
    """
    recipe = run.recipe
    source = open_source(
        recipe.data, split=recipe.split, image_size=recipe.image_size, strict=recipe.strict
    )
    kind = modality(recipe.modality)
    spec = _spec(run) or kind.input_spec(recipe, source)
    views = kind.training_views(recipe.changed({"view_scale": 1.0}), spec)
    chosen = np.random.default_rng(recipe.seed).permutation(len(source))[:SAMPLES]
    raw = source.batch(chosen)
    shown = pictures(recipe.modality, raw)
    made = views(raw, torch.Generator().manual_seed(recipe.seed))[:MOST_VIEWS]
    if any(not isinstance(view, Tensor) or view.ndim != raw.ndim for view in made):
        raise TacitError(f"views of {recipe.modality} data have no picture")
    if recipe.modality == "image":
        made = [to_uint8(view, spec["mean"], spec["std"]) for view in made]
    drawn = [pictures(recipe.modality, view) for view in made]
    return [Example(shown[i], [view[i] for view in drawn]) for i in range(len(shown))]


def _spec(run: Run) -> dict[str, Any] | None:
    """What training normalised by; None where no encoder is saved."""
    path = run.path / "encoder.json"
    if not path.exists():
        return None
    return read_spec(path)
