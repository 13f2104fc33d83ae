"""The tasks by name, and the weights that were published for them."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from tacit.errors import ConfigError, did_you_mean

from ._attributes import AttributeMask, PairwiseAttributeSimilarity
from ._base import PretextTask
from ._context import ContextLabel
from ._correction import CorrectedLabel
from ._distance import DistanceToClusters, PairwiseDistance
from ._edges import EdgeMask
from ._labelled import DistanceToLabeled
from ._property import NodeProperty

Data = Literal["cora", "citeseer", "pubmed"]

TASKS: dict[str, type[PretextTask]] = {
    "node-property": NodeProperty,
    "edge-mask": EdgeMask,
    "pairwise-distance": PairwiseDistance,
    "distance-to-clusters": DistanceToClusters,
    "attribute-mask": AttributeMask,
    "pairwise-attribute-similarity": PairwiseAttributeSimilarity,
    "distance-to-labeled": DistanceToLabeled,
    "context-label": ContextLabel,
    "corrected-label": CorrectedLabel,
}

# lambda on Cora, CiteSeer, PubMed, as searched by the authors; guessed labels by classifier
_LAMBDA: dict[tuple[str, str | None], tuple[float, float, float]] = {
    ("node-property", None): (5, 0.1, 0.1),
    ("edge-mask", None): (10, 5, 5),
    ("pairwise-distance", None): (20, 5, 5),
    ("distance-to-clusters", None): (100, 10, 2000),
    ("attribute-mask", None): (100, 5, 50),
    ("pairwise-attribute-similarity", None): (100, 5, 0.01),
    ("distance-to-labeled", None): (100, 10, 1),
    ("context", "ica"): (10, 10, 10),
    ("context", "lp"): (10, 1, 1),  # the configuration file has 50 on Cora, the scripts 10
    ("context", "ensemble"): (10, 8, 10),
}
_ALPHA: dict[str, tuple[float, float, float]] = {
    "ica": (1.5, 1, 1),
    "lp": (1.5, 1.5, 1),
    "ensemble": (1, 1, 1),
}
_COLUMN: dict[str, int] = {"cora": 0, "citeseer": 1, "pubmed": 2}
SAMPLES = (1000, 3000, 10000)  # nodes whose labels are corrected in a step
CLUSTERS = (10, 10, 30)


def published_lambda(task: str, source: str = "ica", data: Data = "cora") -> float:
    """Weight of a task's loss that the authors found on a data set.

    >>> published_lambda("edge-mask", data="citeseer"), published_lambda("context-label", "lp")
    (5, 10)
    """
    guessed = issubclass(_task(task), ContextLabel)
    return _LAMBDA[("context", source) if guessed else (task, None)][_COLUMN[data]]


def published_options(task: str, source: str = "ica", data: Data = "cora") -> dict[str, Any]:
    """Options of a task that the authors used on a data set.

    >>> published_options("corrected-label", "lp", "citeseer")
    {'source': 'lp', 'binarize': True, 'alpha': 1.5, 'n_samples': 3000}
    """
    column, cls = _COLUMN[data], _task(task)
    if cls is DistanceToClusters:
        return {"clusters": CLUSTERS[column]}
    if not issubclass(cls, ContextLabel):
        return {}
    options = {"source": source, "binarize": data != "cora"}
    if cls is CorrectedLabel:
        options |= {"alpha": _ALPHA[source][column], "n_samples": SAMPLES[column]}
    return options


def task_options(task: str) -> set[str]:
    """Names of the options of a task.

    >>> sorted(task_options("edge-mask"))
    ['ratio', 'undirected']
    """
    names: set[str] = set()
    for cls in _task(task).__mro__:
        if "__init__" in vars(cls) and cls is not object:
            parameters = inspect.signature(cls).parameters.values()
            names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    return names


def build_task(task: str, **options: Any) -> PretextTask:
    """A task by name.

    Raises
    ------
    ConfigError : an unknown name (with a suggestion).

    >>> type(build_task("edge-mask", ratio=0.2)).__name__
    'EdgeMask'
    """
    return _task(task)(**options)


def _task(name: str) -> type[PretextTask]:
    if name not in TASKS:
        raise ConfigError(
            f"There is no pretext task '{name}'.{did_you_mean(name, TASKS)} "
            f"Known: {', '.join(TASKS)}."
        )
    return TASKS[name]
