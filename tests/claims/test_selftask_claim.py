"""The SelfTask claim: splits, what is read when, and what the checks say of made-up rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tacit.claims.base import Rows
from tacit.claims.selftask import (
    ACCURACY,
    CONTEXT,
    CORRECTED,
    GAIN,
    GCN,
    SCARCE,
    SETTINGS,
    SelfTaskClaim,
    Split,
)
from tacit.data.graph import GraphSource
from tacit.errors import DataError
from tacit.graphs import ContextLabel
from tacit.registry import CLAIMS


def toy(labels: np.ndarray | None = None, **splits: np.ndarray) -> GraphSource:
    rng = np.random.default_rng(0)
    y = np.arange(2400) % 4
    edges = rng.integers(0, 2400, (2, 9000))
    edges = edges[:, y[edges[0]] == y[edges[1]]]
    x = rng.random((2400, 8)).astype(np.float32)
    given = {"train": np.arange(20), "val": np.arange(20, 60), "test": np.arange(60, 200)}
    labels = y if labels is None else labels
    return GraphSource("toy", x, edges, labels, **(splits or given))


def test_it_is_registered() -> None:
    claim = CLAIMS.get("selftask")
    assert claim is SelfTaskClaim
    assert claim.data == "planetoid:cora"


def test_public_split_leaves_unlabelled_test_nodes_out() -> None:
    labels = np.arange(2400) % 4
    labels[100] = -1
    split = Split.public(toy(labels))
    assert 100 not in split.test
    assert len(split.test) == 139
    with pytest.raises(DataError, match="no public split"):
        Split.public(toy(train=np.arange(3)))


def test_few_labels() -> None:
    public = Split.public(toy())
    few = public.few(5, seed=3)
    assert torch.bincount(public.y[few.train]).tolist() == [5, 5, 5, 5]
    assert (len(few.val), len(few.test)) == (500, 1000)
    together = np.concatenate([few.train, few.val, few.test])
    assert len(np.unique(together)) == 20 + 1500
    assert np.array_equal(few.train, public.few(5, seed=3).train)
    assert not np.array_equal(few.train, public.few(5, seed=4).train)


def test_test_labels_are_used_for_the_score_only(monkeypatch) -> None:
    split = Split.public(toy())
    seen = {}

    real = ContextLabel.prepare

    def prepare(self, graph, train_idx=None, y=None, generator=None):
        seen["prepare"] = y.clone()
        return real(self, graph, train_idx, y, generator)

    monkeypatch.setattr(ContextLabel, "prepare", prepare)
    accuracy = split.fit(ContextLabel("lp"), 1.0, seed=0, epochs=2)
    known = np.concatenate([split.train, split.val])
    hidden = np.setdiff1d(np.arange(2400), known)
    assert (seen["prepare"][hidden] == -1).all()
    flipped = Split(split.graph, split.y.clone(), split.train, split.val, split.test)
    flipped.y[split.test] = (flipped.y[split.test] + 1) % 4
    other = flipped.fit(ContextLabel("lp"), 1.0, seed=0, epochs=2)
    assert 0 <= accuracy <= 100
    assert accuracy + other <= 100  # the same predictions cannot be right about both


def rows(gains: dict[str, float], scarce: float) -> Rows:
    out: Rows = {}
    for title in ("Cora", "CiteSeer"):
        out[f"{title}, {GCN}"] = {ACCURACY: 81.0, GAIN: 0.0}
        for setting in SETTINGS:
            gain = gains.get(setting.label, 0.5)
            out[f"{title}, {setting.label}"] = {ACCURACY: 81 + gain, GAIN: gain}
    out[f"{SCARCE}, {GCN}"] = {ACCURACY: 70.0, GAIN: 0.0}
    out[f"{SCARCE}, {CORRECTED}"] = {ACCURACY: 70 + scarce, GAIN: scarce}
    return out


@pytest.mark.parametrize(
    ("gains", "scarce", "held"),
    [
        ({CORRECTED: 1.5, CONTEXT: 0.5}, 4.0, [True, True, True, True, True]),
        ({CORRECTED: 0.9, CONTEXT: 0.5}, 4.0, [False, True, True, True, True]),
        ({CORRECTED: 1.5, CONTEXT: 1.6}, 4.0, [True, False, True, True, True]),
        ({CORRECTED: 1.5}, 1.4, [True, True, False, True, True]),
        ({CORRECTED: 1.5, "EdgeMask": -1.1}, 4.0, [True, True, True, False, True]),
        ({CORRECTED: 1.5, "NodeProperty": 1.2}, 4.0, [True, True, True, False, True]),
        ({CORRECTED: 1.5, "DistanceToClusters": -0.1}, 4.0, [True, True, True, True, False]),
    ],
)
def test_checks_on_made_up_rows(gains, scarce, held) -> None:
    checks = SelfTaskClaim().checks(rows(gains, scarce))
    assert [check.holds for check in checks if check.decisive] == held
