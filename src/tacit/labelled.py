"""Labelled protocols on the features of a run, beside an untrained encoder and raw features."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from tacit.data import Source
from tacit.data.series import SeriesSource
from tacit.embedding import embed_all
from tacit.encoders.chunked import plain
from tacit.errors import ConfigError, DataError
from tacit.evaluation import check_protocols, evaluate_embeddings
from tacit.evaluation.protocols import STAGING
from tacit.evaluation.staging import stage_names
from tacit.evaluation.staging_probe import check_recordings, save_hypnograms, staging_probe
from tacit.registry import METHODS
from tacit.training.build import build_method
from tacit.training.folder import write_atomic

if TYPE_CHECKING:
    from tacit.run import Run

logger = logging.getLogger(__name__)
SETTINGS = ("k", "C", "shots", "trials")  # what a protocol chose, not what it measured
HYPNOGRAMS = "hypnograms"
QUIET = 10.0  # seconds between two lines of a long training

Pair = tuple[Any, Any]  # of the training and the test part


def evaluate_run(
    run: Run,
    names: list[str],
    *,
    data: Any = None,
    train_samples: int | None = None,
    test_samples: int | None = None,
    baselines: bool = True,
    own: nn.Module | None = None,
) -> dict[str, dict[str, float]]:
    """See `Run.evaluate`; `own` is the user's network, which has no untrained twin."""
    check_protocols(names)
    sources = run.open(data, "train"), run.open(data, "test")
    train, test = sources
    if train.labels is None or test.labels is None:
        if getattr(train, "targets", None) is not None:
            raise DataError(
                f"'{train.name}' has several tasks a graph and no label, which the protocols "
                f"{', '.join(names)} need. Fine-tune on its tasks in Python: "
                "tacit.graphs.finetune_graphs."
            )
        raise DataError(
            f"'{train.name}' has no labels, which the protocols {', '.join(names)} need. "
            "Label-free criteria are in the report and in metrics.csv."
        )
    where = _labelled(train, train_samples), _labelled(test, test_samples)
    labels = train.labels[where[0]], test.labels[where[1]]
    if len(np.unique(labels[0])) < 2:
        raise DataError(f"'{train.name}' has one class only: there is nothing to tell apart.")
    others = [name for name in names if name != STAGING]
    staging = STAGING in names
    if staging:
        check_recordings(train)
        if train_samples is not None or test_samples is not None:
            raise ConfigError("staging reads whole recordings: leave out train and test samples.")
    # staging also reads the epochs without a label, between those that have one
    read = (np.arange(len(train)), np.arange(len(test))) if staging else where

    def features(encoder: nn.Module) -> Pair:
        a, b = (embed_all(encoder, run.view, s, positions=p) for s, p in zip(sources, read))
        return a, b

    def score(name: str, x: Pair) -> dict[str, float]:
        chosen = [part[p] for part, p in zip(x, where)] if staging else list(x)
        row = _flat(evaluate_embeddings(chosen[0], labels[0], chosen[1], labels[1], others))
        if staging:
            row |= _stage(run, name, x, sources)
        return row

    rows = {"encoder": score("encoder", features(run.encoder))}
    if baselines:
        if own is None:
            cls = METHODS.get(run.recipe.method)
            untrained = plain(build_method(cls, run.recipe, run.input_spec).encoder)
            rows["untrained"] = score("untrained", features(untrained))
        raw = [run.modality.raw_features(s, p) for s, p in zip(sources, read)]
        rows["raw"] = score("raw", (raw[0], raw[1]))
    result = {
        "data": train.name,
        "train_samples": len(where[0]),
        "test_samples": len(where[1]),
        "rows": rows,
    }
    write_atomic(run.path / "evaluation.json", json.dumps(result, indent=2) + "\n")
    return rows


def _stage(run: Run, name: str, x: Pair, sources: tuple[Source, Source]) -> dict[str, float]:
    """Scores of the staging probe; of the encoder also the hypnograms of the test recordings."""
    from tacit.evaluation import recording_positions

    train, test = sources
    assert isinstance(train, SeriesSource)
    assert isinstance(test, SeriesSource)
    highest = max(int(y.max()) for y in (train.labels, test.labels) if y is not None)
    stages = train.class_names or stage_names(highest + 1)
    found = staging_probe(
        (x[0], train.labels, recording_positions(train)),
        (x[1], test.labels, recording_positions(test)),
        len(stages),
        tell=_now_and_then(f"staging, {name}"),
    )
    if name == "encoder":
        save_hypnograms(test, found.predicted, stages, run.path / HYPNOGRAMS)
    return _flat({STAGING: found.metrics(stages)})


def _now_and_then(what: str) -> Callable[[str], None]:
    """Says how a long training goes; short ones say nothing."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last > QUIET:
            last = time.monotonic()
            logger.info("%s: %s", what, line)

    return tell


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


def _flat(nested: dict[str, dict[str, float]]) -> dict[str, float]:
    """Flat metrics: the first of a protocol under its name, the others as "protocol metric"."""
    flat = {}
    for protocol, values in nested.items():
        main, *rest = (name for name in values if name not in SETTINGS)
        flat[protocol] = values[main]
        flat.update({f"{protocol} {name}": values[name] for name in rest})
    return flat
