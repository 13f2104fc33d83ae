"""Evaluation: label-free criteria, the collapse alarm and labelled protocols, on plain arrays."""

from .criteria import CriterionResult, criteria, online_criteria
from .health import CollapseAlarm, Health, diagnose
from .lidar import lidar
from .neighborhood import clid, cluster_learnability, two_nn_dimension
from .rank import (
    alpha_req,
    condition_number,
    covariance_rank,
    nesum,
    participation_ratio,
    rankme,
    spectral_entropy,
    stable_rank,
)
from .select import Selection, SelectionReport, select_runs, selection_report
from .spread import coherence, feature_std, feature_std_ratio, self_cluster
from .uniformity import alignment, uniformity, wasserstein_uniformity

__all__ = [
    "CollapseAlarm",
    "CriterionResult",
    "Health",
    "Selection",
    "SelectionReport",
    "alignment",
    "alpha_req",
    "clid",
    "cluster_learnability",
    "coherence",
    "condition_number",
    "covariance_rank",
    "criteria",
    "diagnose",
    "feature_std",
    "feature_std_ratio",
    "lidar",
    "nesum",
    "online_criteria",
    "participation_ratio",
    "rankme",
    "select_runs",
    "selection_report",
    "self_cluster",
    "spectral_entropy",
    "stable_rank",
    "two_nn_dimension",
    "uniformity",
    "wasserstein_uniformity",
]
