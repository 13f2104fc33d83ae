"""fMRI: recordings of region series, float32 (n, regions, T), as sequences of graphs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tacit.data import Source
from tacit.data.fmri import FMRISource
from tacit.encoders.base import Encoder
from tacit.encoders.fmri import DynamicFCEncoder
from tacit.encoders.named import build_named, named
from tacit.errors import ConfigError, DataError
from tacit.modalities.base import Modality, grouped_reservoir
from tacit.recipe import Recipe
from tacit.views.fmri import window_fc

ENCODERS: dict[str, tuple[type[Encoder], dict[str, Any]]] = {"gin": (DynamicFCEncoder, {})}
KIND = "fmri encoder"  # in messages
BATCH = 8  # recordings a step
EPOCHS = 50  # passes over all windows
LOOKS = 20  # of the monitor; one encodes all windows of its recordings


class Recordings(nn.Module):
    """Training views: the recordings as they are; windows are drawn by the method."""

    def __init__(self, n_views: int) -> None:
        super().__init__()
        self.n_views = n_views

    def forward(self, raw: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        return [raw] * self.n_views


class FMRI(Modality):
    """Recordings of one atlas and one TR."""

    name: ClassVar[str] = "fmri"
    default_method: ClassVar[str] = "st-mae"
    unused: ClassVar[tuple[str, ...]] = ("image_size", "views")

    def complete(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        """Encoder, recordings a step, and steps for 50 passes over the windows of all recordings.

        An epoch of the trainer sees every recording once, which is a few of its windows.
        """
        assert isinstance(source, FMRISource)
        training = len(self.reservoir(source, recipe)[0])
        batch = recipe.batch_size or min(BATCH, training)
        changes: dict[str, Any] = {"encoder": recipe.encoder or "gin", "batch_size": batch}
        steps = recipe.steps
        if steps is None and recipe.epochs is None and recipe.max_time is None:
            drawn = batch * int(recipe.options.get("windows", BATCH))
            windows = training * self._windows(recipe, source)
            steps = changes["steps"] = max(1, math.ceil(EPOCHS * windows / drawn))
        if steps is not None and recipe.monitor.every is None:
            changes["monitor"] = {"every": max(1, steps // LOOKS)}
        return changes

    def _windows(self, recipe: Recipe, source: FMRISource) -> int:
        """Windows of a recording, as the encoder cuts it."""
        spec = self.input_spec(recipe, source)
        with torch.random.fork_rng(devices=[]):
            encoder = self.build_encoder(recipe.encoder or "gin", spec, recipe.encoder_options)
        assert isinstance(encoder, DynamicFCEncoder)
        return len(encoder.starts(source.shape[1]))

    def input_spec(self, recipe: Recipe, source: Source) -> dict[str, Any]:
        assert isinstance(source, FMRISource)
        return {"n_rois": source.shape[0], "tr": source.tr}

    def check_encoder(self, name: str) -> None:
        named(KIND, ENCODERS, name)

    def build_encoder(
        self, name: str | nn.Module, spec: dict[str, Any], options: dict[str, Any]
    ) -> Encoder:
        if isinstance(name, nn.Module):
            if not isinstance(name, DynamicFCEncoder) or name.in_channels != spec["n_rois"]:
                raise ConfigError(
                    f"fmri data with {spec['n_rois']} regions needs a DynamicFCEncoder for them, "
                    f"not {type(name).__name__}."
                )
            return name
        return build_named(KIND, ENCODERS, name, options, n_rois=spec["n_rois"], tr=spec["tr"])

    def training_views(self, recipe: Recipe, spec: dict[str, Any]) -> nn.Module:
        return Recordings(recipe.n_views or 1)

    def eval_view(self, spec: dict[str, Any]) -> nn.Module:
        return nn.Identity()

    def check(self, source: Source, spec: dict[str, Any], where: str) -> None:
        assert isinstance(source, FMRISource)
        if source.shape[0] != spec["n_rois"]:
            raise DataError(
                f"'{source.name}' has {source.shape[0]} regions, but the encoder of {where} was "
                f"trained on {spec['n_rois']}; use the same atlas."
            )
        trained = spec["tr"]
        same = source.tr is None if trained is None else source.tr is not None
        if not same or (trained is not None and abs(trained - (source.tr or 0)) > 1e-3):
            now, then = (
                f"{tr:g} s" if tr is not None else "unknown" for tr in (source.tr, trained)
            )
            raise DataError(
                f"'{source.name}' has the TR {now}, but the encoder of {where} was trained at "
                f"{then}: its windows would have other lengths. Give the TR with #tr=SECONDS, or "
                "resample the series."
            )

    def reservoir(self, source: Source, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """A tenth of the subjects is held out, if that is 32 recordings or more."""
        return grouped_reservoir(source, recipe)

    def raw_features(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """Static connectivity: correlations of all pairs of regions over the whole recording."""
        ts = source.batch(positions).transpose(1, 2)
        fc = window_fc(ts, torch.zeros(1, dtype=torch.long), ts.shape[1])[:, 0]
        row, column = torch.triu_indices(fc.shape[-1], fc.shape[-1], 1)
        return fc[:, row, column].numpy()
