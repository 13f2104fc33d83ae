"""A finished (or interrupted) run: embed, evaluate, report, resume."""

from __future__ import annotations

import json
import logging
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
from tacit.encoders.chunked import plain
from tacit.errors import DataError, TacitError
from tacit.evaluation import check_protocols, evaluate_embeddings
from tacit.modalities import Modality, modality
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.training.fit import build_method
from tacit.training.folder import RunFolder, write_atomic
from tacit.training.metrics import read_metrics

logger = logging.getLogger(__name__)
SETTINGS = ("k", "C", "shots", "trials")  # what a protocol chose, not what it measured


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
        protocols : of `knn`, `linear`, `few-shot`, `retrieval`.
        data : labelled source; this run's own by default.
        train_samples, test_samples : use only so many; all that have a label by default.
        baselines : also evaluate the untrained encoder and raw features (pixels ...).

        Returns
        -------
        {"encoder" | "untrained" | "raw": {metric: value}}; also written to evaluation.json.

        Raises
        ------
        ValueError : unknown protocol. DataError : the data has no labels, or one class only.
        """
        names = [protocols] if isinstance(protocols, str) else list(protocols)
        check_protocols(names)
        train, test = self.open(data, "train"), self.open(data, "test")
        if train.labels is None or test.labels is None:
            raise DataError(
                f"'{train.name}' has no labels, which the protocols {', '.join(names)} need. "
                "Label-free criteria are in the report and in metrics.csv."
            )
        where = [_labelled(train, train_samples), _labelled(test, test_samples)]
        labels = [train.labels[where[0]], test.labels[where[1]]]
        if len(np.unique(labels[0])) < 2:
            raise DataError(f"'{train.name}' has one class only: there is nothing to tell apart.")
        rows = {"encoder": self._protocols(self.encoder, (train, test), where, labels, names)}
        if baselines:
            if self._own is None:
                cls = METHODS.get(self.recipe.method)
                untrained = plain(build_method(cls, self.recipe, self.input_spec).encoder)
                rows["untrained"] = self._protocols(untrained, (train, test), where, labels, names)
            raw = [self.modality.raw_features(s, p) for s, p in zip((train, test), where)]
            rows["raw"] = _evaluate(raw[0], raw[1], labels, names)
        result = {
            "data": train.name,
            "train_samples": len(where[0]),
            "test_samples": len(where[1]),
            "rows": rows,
        }
        write_atomic(self.path / "evaluation.json", json.dumps(result, indent=2) + "\n")
        return rows

    def _protocols(
        self,
        encoder: Encoder,
        sources: tuple[Source, Source],
        where: list[np.ndarray],
        labels: list[np.ndarray],
        names: list[str],
    ) -> dict[str, float]:
        train, test = (
            embed_all(encoder, self.view, source, positions=positions)
            for source, positions in zip(sources, where)
        )
        return _evaluate(train, test, labels, names)

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

        if self.status.get("state") == "finished":
            raise TacitError(f"'{self.path}' is finished; there is nothing to resume.")
        recipe = join(self.recipe)
        source = open_source(
            recipe.data, split=recipe.split, image_size=recipe.image_size, strict=recipe.strict
        )
        method = METHODS.get(recipe.method)
        fit(recipe, self.folder, method, source, encoder=self._own, resume=True, progress=progress)
        return Run(self.path, encoder=self._own)


def _labelled(source: Source, wanted: int | None) -> np.ndarray:
    """Positions of at most `wanted` samples that have a label (not -1)."""
    assert source.labels is not None
    positions = np.flatnonzero(source.labels >= 0)
    if not len(positions):
        raise DataError(f"'{source.name}' has no labelled sample to evaluate on.")
    if len(positions) < len(source):
        left = len(source) - len(positions)
        logger.warning("%s: %d of %d have no label: left out.", source.name, left, len(source))
    return positions[_spread(len(positions), wanted)]


def _spread(n: int, wanted: int | None) -> np.ndarray:
    """At most `wanted` positions of 0..n-1, a random subset that is the same in every call."""
    if wanted is None or wanted >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:wanted])


def _evaluate(
    train: np.ndarray, test: np.ndarray, labels: list[np.ndarray], names: list[str]
) -> dict[str, float]:
    """Flat metrics: the first of a protocol under its name, the others as "protocol metric"."""
    nested = evaluate_embeddings(train, labels[0], test, labels[1], protocols=tuple(names))
    flat = {}
    for protocol, values in nested.items():
        main, *rest = (name for name in values if name not in SETTINGS)
        flat[protocol] = values[main]
        flat.update({f"{protocol} {name}": values[name] for name in rest})
    return flat
