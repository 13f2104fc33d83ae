"""Pretext tasks on graphs (SelfTask), and the label-guessing functions they use."""

from ._attributes import AttributeMask, PairwiseAttributeSimilarity
from ._base import PretextTask
from ._context import ContextLabel, context_distribution
from ._correction import CorrectedLabel, prototype_label_correction
from ._distance import DistanceToClusters, PairwiseDistance
from ._edges import EdgeMask
from ._labelled import DistanceToLabeled
from ._partition import partition
from ._property import NodeProperty
from ._pseudo import iterative_classification, label_propagation
from ._published import TASKS, build_task, published_lambda, published_options, task_options
from ._train import GCNLayer, Trained, plain_gcn, train_with_pretext

__all__ = [
    "TASKS",
    "AttributeMask",
    "ContextLabel",
    "CorrectedLabel",
    "DistanceToClusters",
    "DistanceToLabeled",
    "EdgeMask",
    "GCNLayer",
    "NodeProperty",
    "PairwiseAttributeSimilarity",
    "PairwiseDistance",
    "PretextTask",
    "Trained",
    "build_task",
    "context_distribution",
    "iterative_classification",
    "label_propagation",
    "partition",
    "plain_gcn",
    "prototype_label_correction",
    "published_lambda",
    "published_options",
    "task_options",
    "train_with_pretext",
]
