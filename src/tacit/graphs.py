"""Pretext tasks on graphs, the functions they are made of, and the published probes of graphs.

>>> import torch
>>> star = torch.eye(4), torch.tensor([[0, 0, 0], [1, 2, 3]])
>>> NodeProperty().prepare(star).targets.tolist()
[1, 0, 0, 0]
"""

from tacit.evaluation.graph_finetune import finetune_graphs, scaffold_split
from tacit.evaluation.graph_probes import NodeProbe, linear_probe, svm_probe
from tacit.methods.predictive._tasks import (
    TASKS,
    AttributeMask,
    ContextLabel,
    CorrectedLabel,
    DistanceToClusters,
    DistanceToLabeled,
    EdgeMask,
    GCNLayer,
    NodeProperty,
    PairwiseAttributeSimilarity,
    PairwiseDistance,
    PretextTask,
    Trained,
    build_task,
    context_distribution,
    iterative_classification,
    label_propagation,
    partition,
    plain_gcn,
    prototype_label_correction,
    published_lambda,
    published_options,
    task_options,
    train_with_pretext,
)

__all__ = [
    "TASKS",
    "AttributeMask",
    "ContextLabel",
    "CorrectedLabel",
    "DistanceToClusters",
    "DistanceToLabeled",
    "EdgeMask",
    "GCNLayer",
    "NodeProbe",
    "NodeProperty",
    "PairwiseAttributeSimilarity",
    "PairwiseDistance",
    "PretextTask",
    "Trained",
    "build_task",
    "context_distribution",
    "finetune_graphs",
    "iterative_classification",
    "label_propagation",
    "linear_probe",
    "partition",
    "plain_gcn",
    "prototype_label_correction",
    "published_lambda",
    "published_options",
    "scaffold_split",
    "svm_probe",
    "task_options",
    "train_with_pretext",
]
