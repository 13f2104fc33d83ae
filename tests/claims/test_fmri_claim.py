"""The claim of ST-MAE: it runs on small recordings, and its checks say what they should."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from tacit.claims import Check, reproduce
from tacit.claims import _fmri_regimes as regimes
from tacit.claims import _fmri_transfer as transfer
from tacit.claims._fmri_reconstruct import FINGERPRINT, SPATIAL, TEMPORAL
from tacit.claims.base import Rows
from tacit.claims.fmri_generative import FIXED, GROUP, NEIGHBOURS, RANDOM, FMRIGenerativeClaim
from tacit.errors import DataError

N = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files like those of LEiDA, with 6 regions and short recordings."""
    path, rng = tmp_path_factory.mktemp("leida"), np.random.default_rng(0)
    series = rng.normal(size=(17, N, 180)) + rng.normal(size=(17, 1, 180))
    np.savez(path / "music_aal90.npz", series=series, subject=np.arange(17), tr_seconds=1.3)
    cells = np.empty((4, 2), object)
    for i in range(8):
        cells[i // 2, i % 2] = rng.normal(size=(N, 60)) + (i % 2) * rng.normal(size=(1, 60))
    scipy.io.savemat(path / "example_BOLD.mat", {"tc_aal": cells})
    return path


@pytest.fixture(scope="module")
def rows(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("UNLABELLED", 8), ("LABELLED", 6), ("TEST", 8), ("POINTS", 160)):
            patch.setattr(regimes, name, value)
        patch.setattr(transfer, "SUBJECTS", (1, 2, 3))  # of 4
        out = tmp_path_factory.mktemp("claims")
        result = reproduce("fmri-generative", seeds=1, scale=0.002, data=str(folder), out=out)
        assert (out / "fmri-generative.md").is_file()
        return result.rows[0]


def test_every_table_has_its_baselines(rows: Rows) -> None:
    for split in (FIXED, RANDOM):
        names = {name for name in rows if name.startswith(split)}
        wanted = ("ST-MAE", "untrained", GROUP, "the subject's own mean FC", NEIGHBOURS)
        assert names == {f"{split}: {name}" for name in wanted}
        assert rows[f"{split}: {GROUP}"].keys() == {SPATIAL, TEMPORAL}
        assert rows[f"{split}: {NEIGHBOURS}"].keys() == {TEMPORAL}
    for task in ("rest/task", "regimes"):
        assert {f"{task}: from scratch", f"{task}: fine-tuned ST-MAE"} <= set(rows)
        assert {f"{task}: untrained codes, linear", f"{task}: ST-MAE codes, linear"} <= set(rows)
    for name in ("static FC, linear", "raw FC of windows, linear"):
        assert {f"rest/task: {name}", f"regimes: {name}"} <= set(rows)
    assert {"fingerprint: raw FC", "fingerprint: untrained, all regions"} <= set(rows)
    assert all(np.isfinite(value) for row in rows.values() for value in row.values())
    # what needs no network does not depend on the steps
    assert rows["rest/task: raw FC of windows, linear"]["8 subjects (%)"] >= 75


def full(rows: Rows) -> Rows:
    """Rows in which everything that the paper says holds."""
    made = copy.deepcopy(rows)
    for split in (FIXED, RANDOM):
        made[f"{split}: ST-MAE"] = {SPATIAL: 0.04, TEMPORAL: 0.06}
        made[f"{split}: {GROUP}"] = {SPATIAL: 0.06, TEMPORAL: 0.07}
        made[f"{split}: {NEIGHBOURS}"] = {TEMPORAL: 0.08}
    for name, value in (
        ("ST-MAE, all regions", 90),
        ("raw FC", 80),
        ("untrained, all regions", 70),
    ):
        made[f"fingerprint: {name}"] = {FINGERPRINT: float(value)}
    for name, value in (("fine-tuned ST-MAE", 90.0), ("from scratch", 60.0)):
        made[f"rest/task: {name}"] = dict.fromkeys(transfer.KEYS, value)
        made[f"regimes: {name}"] = {regimes.ACCURACY: value}
    made["regimes: static FC, linear"] = {regimes.ACCURACY: 50.0}
    return made


def checks(rows: Rows) -> list[Check]:
    return FMRIGenerativeClaim().checks(rows)


def test_checks(rows: Rows) -> None:
    made = full(rows)
    assert all(check.holds for check in checks(made))
    assert len({check.sentence for check in checks(made)}) == len(checks(made))
    decisive = [check for check in checks(made) if check.decisive]
    assert len(decisive) == 2
    made[f"{FIXED}: ST-MAE"] = {SPATIAL: 0.0451, TEMPORAL: 0.079}
    assert [check.holds for check in checks(made) if check.decisive] == [False, True]
    made[f"{FIXED}: ST-MAE"] = {SPATIAL: 0.0449, TEMPORAL: 0.081}
    assert [check.holds for check in checks(made) if check.decisive] == [True, False]
    made = full(rows)
    made["rest/task: from scratch"] = dict.fromkeys(transfer.KEYS, 95.0)
    assert sum(not check.holds for check in checks(made)) == 3


def test_missing_files_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"music_aal90\.npz.*juanitacabral/LEiDA.*--data FOLDER"):
        FMRIGenerativeClaim().run(0, data=str(tmp_path))


def test_states_have_equal_average_connectivity() -> None:
    """State 2's covariance is the mean of the others', so its share leaves no linear trace."""
    data = regimes.simulate(3000, torch.Generator().manual_seed(0))
    assert data.ts.shape == (3000, 300, 20)
    assert abs(float(data.labels.float().mean()) - 0.5) < 0.02
    fc = transfer.static_fc(data.ts)
    difference = (fc[data.labels == 1].mean(0) - fc[data.labels == 0].mean(0)).abs()
    assert difference.max() < 0.03
    spread = fc.std(0) * (4 / 3000) ** 0.5
    assert (difference / spread).max() < 5
