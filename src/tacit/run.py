"""A finished (or interrupted) run: embed, evaluate, report, resume."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tacit.data import Source, open_source
from tacit.data.base import Split
from tacit.embedding import embed_all
from tacit.encoders import Encoder, load_encoder
from tacit.errors import DataError, TacitError
from tacit.modalities import Modality, modality
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.training.folder import RunFolder
from tacit.training.metrics import read_metrics


class Run:
    """A run folder with its encoder.

    >>> import tacit
    >>> run = tacit.load("runs/simclr-photos-20260101-120000")  # doctest: +SKIP
    >>> run.embed("images:./photos").shape  # doctest: +SKIP
    (1200, 512)
    """

    def __init__(self, path: str | Path, *, encoder: nn.Module | None = None) -> None:
        self._own = encoder
        self.folder = RunFolder.open(path)
        self.path = self.folder.path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.recipe.method} on {self.recipe.data})"

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return self.folder.recipe

    @property
    def status(self) -> dict[str, Any]:
        """State, steps, seconds and the last label-free criteria."""
        return self.folder.status()

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """Columns of metrics.csv."""
        return read_metrics(self.folder.metrics_path)

    @cached_property
    def _loaded(self) -> tuple[Encoder, dict[str, Any]]:
        return load_encoder(self.path, module=self._own)

    @property
    def encoder(self) -> Encoder:
        """The trained encoder, in evaluation mode, a plain nn.Module."""
        return self._loaded[0]

    @property
    def input_spec(self) -> dict[str, Any]:
        """What the encoder reads: sizes and statistics, as in encoder.json."""
        return self._loaded[1]

    @property
    def modality(self) -> Modality:
        """The kind of data that this run is about."""
        return modality(self.recipe.modality)

    @property
    def view(self) -> nn.Module:
        """Raw samples -> encoder input."""
        return self.modality.eval_view(self.input_spec)

    def open(self, data: Any = None, split: Split = "all") -> Source:
        """A data source as this run reads it; its own data by default."""
        source = open_source(
            self.recipe.data if data is None else data,
            split=split,
            image_size=self.recipe.image_size,
            strict=self.recipe.strict,
        )
        if source.modality != self.recipe.modality:
            raise DataError(
                f"'{source.name}' is {source.modality} data, but the encoder of {self.path} was "
                f"trained on {self.recipe.modality} data."
            )
        source = self.modality.converted(source, self.input_spec)
        self.modality.check(source, self.input_spec, str(self.path))
        return source

    def embed(self, data: Any, *, split: Split = "all", batch_size: int = 256) -> np.ndarray:
        """Embeddings (n, dim) float32 of a spec, an array or a source."""
        return embed_all(self.encoder, self.view, self.open(data, split), batch_size=batch_size)

    def evaluate(
        self,
        protocols: str | Sequence[str] = ("knn", "linear"),
        *,
        data: Any = None,
        train_samples: int | None = None,
        test_samples: int | None = None,
        baselines: bool = True,
    ) -> dict[str, dict[str, float]]:
        """Labelled protocols on frozen features, beside an untrained encoder and raw features.

        Parameters
        ----------
        protocols : of `knn`, `linear`, `few-shot`, `retrieval`, `svm`; for epochs of recordings
            also `staging`: a context network on the frozen features, with a hypnogram of every
            test recording in the run folder (see `tacit.evaluation.staging_probe`).
        data : labelled source; this run's own by default.
        train_samples, test_samples : use only so many; all that have a label by default.
        baselines : also evaluate the untrained encoder and raw features (pixels ...).

        Returns
        -------
        {"encoder" | "untrained" | "raw": {metric: value}}; also written to evaluation.json.

        Raises
        ------
        ValueError : unknown protocol. DataError : the data has no labels, one class only, or no
            recordings to stage.
        """
        from tacit.labelled import evaluate_run

        names = [protocols] if isinstance(protocols, str) else list(protocols)
        return evaluate_run(
            self,
            names,
            data=data,
            train_samples=train_samples,
            test_samples=test_samples,
            baselines=baselines,
            own=self._own,
        )

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The last evaluation of this run, None before the first."""
        return self.folder.evaluation()

    def report(self) -> Path:
        """Write report.html, one self-contained page, and return its path."""
        from tacit.report import write_report

        return write_report(self)

    def resume(self, *, progress: bool = True) -> Run:
        """Continue an interrupted run where its checkpoint stands."""
        from tacit.training.fit import fit
        from tacit.training.launch import join
        from tacit.training.together import none_waits

        if self.status.get("state") == "finished":
            raise TacitError(f"'{self.path}' is finished; there is nothing to resume.")
        recipe = join(self.recipe)
        with none_waits(recipe):
            source = open_source(
                recipe.data, split=recipe.split, image_size=recipe.image_size, strict=recipe.strict
            )
            method, own = METHODS.get(recipe.method), self._own
            fit(recipe, self.folder, method, source, encoder=own, resume=True, progress=progress)
        return Run(self.path, encoder=self._own)
