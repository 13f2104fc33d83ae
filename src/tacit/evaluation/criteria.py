"""All label-free criteria behind one call that shares one decomposition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias

import torch

from tacit.errors import CollapseError, did_you_mean

from .inputs import Groups, Rows, check_matrix, unit_rows
from .lidar import lidar
from .neighborhood import cluster_learnability, two_nn_dimension
from .rank import (
    condition_number_of,
    nesum_of,
    participation_ratio_of,
    power_law_exponent,
    rankme_of,
    spectral_entropy_of,
    stable_rank_of,
    warn_few_rows,
)
from .spectrum import Spectrum
from .spread import coherence_of, self_cluster_of
from .uniformity import uniformity

Direction: TypeAlias = Literal["higher", "lower", "target"]

#: rows used by the criteria whose cost is quadratic in N
QUADRATIC_ROWS = 4096
#: rows used for uniformity while training
ONLINE_PAIR_ROWS = 256


class CriterionResult(NamedTuple):
    """A criterion's value, which way is better, and the range that it can take."""

    value: float
    direction: Direction
    range: tuple[float, float]


class _Rule(NamedTuple):
    compute: Callable[[Spectrum], float]
    direction: Direction
    range: Callable[[Spectrum], tuple[float, float]]


def _uniformity(spectrum: Spectrum, limit: int = QUADRATIC_ROWS) -> float:
    return float(uniformity(unit_rows(spectrum.subsample(limit))))


def _learnability(spectrum: Spectrum) -> float:
    rows = spectrum.subsample(QUADRATIC_ROWS)
    return cluster_learnability(rows, n_clusters=max(2, round(math.sqrt(len(rows) / 2))))


def _self_cluster_range(s: Spectrum) -> tuple[float, float]:
    # ||Z Z^T||_F^2 of unit rows is at least N (its diagonal) and N^2 / d (a tight frame).
    expected = s.n + s.n * (s.n - 1) / s.d
    return ((max(s.n, s.n**2 / s.d) - expected) / (s.n**2 - expected), 1.0)


_RULES: dict[str, _Rule] = {
    "rankme": _Rule(lambda s: rankme_of(s.singular), "higher", lambda s: (1.0, s.k)),
    "alpha_req": _Rule(
        lambda s: power_law_exponent(s.varying), "target", lambda s: (0.0, math.inf)
    ),
    "nesum": _Rule(lambda s: nesum_of(s.varying), "higher", lambda s: (1.0, s.k)),
    "stable_rank": _Rule(lambda s: stable_rank_of(s.singular), "higher", lambda s: (1.0, s.k)),
    "coherence": _Rule(coherence_of, "lower", lambda s: (1.0, s.n / s.k)),
    "condition_number": _Rule(
        lambda s: condition_number_of(s.singular), "higher", lambda s: (0.0, 1.0)
    ),
    "self_cluster": _Rule(self_cluster_of, "lower", _self_cluster_range),
    "covariance_rank": _Rule(lambda s: int((s.eigen > 1e-5).sum()), "higher", lambda s: (0.0, s.k)),
    "participation_ratio": _Rule(
        lambda s: participation_ratio_of(s.varying), "higher", lambda s: (1.0, s.k)
    ),
    "spectral_entropy": _Rule(
        lambda s: spectral_entropy_of(s, "singular"), "higher", lambda s: (0.0, math.log(s.k))
    ),
    "spectral_entropy_eigen": _Rule(
        lambda s: spectral_entropy_of(s, "eigen"), "higher", lambda s: (0.0, math.log(s.k))
    ),
    "feature_std": _Rule(lambda s: float(s.unit_std.mean()), "higher", lambda s: (0.0, s.d**-0.5)),
    "feature_std_ratio": _Rule(
        lambda s: float(s.unit_std.mean()) * math.sqrt(s.d), "higher", lambda s: (0.0, 1.0)
    ),
    "total_variance": _Rule(lambda s: float(s.eigen.sum()), "higher", lambda s: (0.0, math.inf)),
    "uniformity": _Rule(_uniformity, "lower", lambda s: (-8.0, 0.0)),
    "two_nn_dimension": _Rule(
        lambda s: two_nn_dimension(s.subsample(QUADRATIC_ROWS)),
        "higher",
        lambda s: (0.0, math.inf),
    ),
    "cluster_learnability": _Rule(_learnability, "higher", lambda s: (0.0, 1.0)),
}

#: direction of each criterion by name
DIRECTIONS: dict[str, Direction] = {name: rule.direction for name, rule in _RULES.items()} | {
    "lidar": "higher"
}
#: the value that a criterion of direction "target" should be near
TARGETS: dict[str, float] = {"alpha_req": 1.0}


def criteria(Z: Rows | Groups, names: str | Iterable[str] = "all") -> dict[str, CriterionResult]:
    """Label-free criteria of an embedding matrix, sharing one decomposition.

    Works block by block in float64: memory stays bounded for 1,000,000 rows, also for a numpy
    memory map. Criteria of quadratic cost (uniformity, two_nn_dimension, cluster_learnability)
    use at most 4096 evenly spaced rows. A criterion that is not defined on this matrix (a power
    law on too few eigenvalues, a shape of identical rows) is NaN.

    Parameters
    ----------
    Z : (N, d) embeddings; or (n, q, d), q augmentations of n samples, which adds "lidar" and gives
        the other criteria on the n q rows.
    names : "all", one name, or several.

    Returns
    -------
    dict of name to CriterionResult(value, direction, range), in the order asked for.

    Raises
    ------
    ValueError : unknown name, wrong shape, rows with NaN or infinite values.
    CollapseError : all embeddings are zero.

    >>> import torch
    >>> z = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> result = criteria(z, ["rankme", "stable_rank"])
    >>> result["rankme"].direction, 7 < result["rankme"].value < 8.001
    ('higher', True)
    """
    grouped = Z.ndim == 3
    check_matrix(Z, "Z", ndim=3 if grouped else 2)
    chosen = _names(names, grouped)
    # Grouped rows flatten to consecutive rows without a copy, also in a memory map.
    spectrum = Spectrum(Z.reshape(-1, Z.shape[-1]) if grouped else Z)
    spectrum.singular  # noqa: B018 - raises on all-zero embeddings, whatever was asked for
    warn_few_rows(spectrum.n, spectrum.d)
    results = {}
    for name in chosen:
        if name == "lidar":
            bound = float(min(Z.shape[2], Z.shape[0] - 1))
            results[name] = CriterionResult(lidar(Z), "higher", (1.0, bound))
            continue
        rule = _RULES[name]
        low, high = rule.range(spectrum) if spectrum.n > 1 else (math.nan, math.nan)
        results[name] = CriterionResult(
            _value(rule, spectrum), rule.direction, (float(low), float(high))
        )
    return results


def _names(names: str | Iterable[str], grouped: bool) -> list[str]:
    known = [*_RULES, "lidar"]
    if names == "all":
        return known if grouped else list(_RULES)
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"unknown criterion {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )
        if name == "lidar" and not grouped:
            raise ValueError("lidar needs grouped embeddings (n, q, d): q augmentations a sample.")
    return chosen


def _value(rule: _Rule, spectrum: Spectrum) -> float:
    try:
        return float(rule.compute(spectrum))
    except (ValueError, CollapseError):
        return math.nan


@torch.no_grad()
def online_criteria(Z: Rows) -> dict[str, float]:
    """The criteria cheap enough to follow while training, as plain floats.

    rankme, stable_rank, alpha_req, feature_std, total_variance, uniformity (on at most 256 rows)
    and the `width` d, which the alarm needs. Nothing here raises on a collapsed batch: all-zero
    embeddings have rankme and stable_rank 1, and what is undefined is NaN.

    Parameters
    ----------
    Z : (N, d) embeddings of a fixed held-out reservoir, typically N of 1024 to 2048.

    >>> import torch
    >>> z = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    >>> sorted(online_criteria(z))[:3]
    ['alpha_req', 'feature_std', 'rankme']
    """
    spectrum = Spectrum(Z)
    try:
        rank, stable = rankme_of(spectrum.singular), stable_rank_of(spectrum.singular)
    except CollapseError:
        rank = stable = 1.0
    return {
        "rankme": rank,
        "stable_rank": stable,
        "alpha_req": _value(_RULES["alpha_req"], spectrum),
        "feature_std": _value(_RULES["feature_std"], spectrum),
        "total_variance": _value(_RULES["total_variance"], spectrum),
        "uniformity": _uniformity(spectrum, ONLINE_PAIR_ROWS) if spectrum.n > 1 else math.nan,
        "width": float(spectrum.d),
    }
