"""Evaluation: label-free criteria, the collapse alarm and labelled protocols, on plain arrays."""

from .criteria import CriterionResult, criteria, online_criteria
from .few_shot import FewShotResult, few_shot_probe
from .fine_tune import (
    fit_epoch_classifier,
    fit_temporal_context,
    predict_epochs,
    recording_positions,
)
from .fine_tune_fc import FineTuned, fine_tune_fc
from .frozen import FrozenProbe, frozen_linear_probe, regression_scores
from .graph_probes import NodeProbe, svm_probe
from .health import CollapseAlarm, Health, diagnose
from .hypnogram import plot_hypnogram
from .knn import Neighbors, cosine_neighbors, knn_accuracy, knn_classify
from .lidar import lidar
from .linear import linear_probe
from .neighborhood import clid, cluster_learnability, two_nn_dimension
from .probe_result import ProbeResult
from .protocols import PROTOCOLS, check_protocols, evaluate_embeddings
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
from .retrieval import retrieval_metrics
from .ridge import ridge_probe
from .select import Selection, SelectionReport, select_runs, selection_report
from .spread import coherence, feature_std, feature_std_ratio, self_cluster
from .staging import STAGES, StagingScores, staging_scores
from .staging_probe import StagingProbe, save_hypnograms, staging_probe
from .uniformity import alignment, uniformity, wasserstein_uniformity
from .windows import context_windows, merge_windows

__all__ = [
    "PROTOCOLS",
    "STAGES",
    "CollapseAlarm",
    "CriterionResult",
    "FewShotResult",
    "FineTuned",
    "FrozenProbe",
    "Health",
    "Neighbors",
    "NodeProbe",
    "ProbeResult",
    "Selection",
    "SelectionReport",
    "StagingProbe",
    "StagingScores",
    "alignment",
    "alpha_req",
    "check_protocols",
    "clid",
    "cluster_learnability",
    "coherence",
    "condition_number",
    "context_windows",
    "cosine_neighbors",
    "covariance_rank",
    "criteria",
    "diagnose",
    "evaluate_embeddings",
    "feature_std",
    "feature_std_ratio",
    "few_shot_probe",
    "fine_tune_fc",
    "fit_epoch_classifier",
    "fit_temporal_context",
    "frozen_linear_probe",
    "knn_accuracy",
    "knn_classify",
    "lidar",
    "linear_probe",
    "merge_windows",
    "nesum",
    "online_criteria",
    "participation_ratio",
    "plot_hypnogram",
    "predict_epochs",
    "rankme",
    "recording_positions",
    "regression_scores",
    "retrieval_metrics",
    "ridge_probe",
    "save_hypnograms",
    "select_runs",
    "selection_report",
    "self_cluster",
    "spectral_entropy",
    "stable_rank",
    "staging_probe",
    "staging_scores",
    "svm_probe",
    "two_nn_dimension",
    "uniformity",
    "wasserstein_uniformity",
]
