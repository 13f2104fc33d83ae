"""Two-dimensional maps of the embeddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from threadpoolctl import threadpool_limits
from torch import Tensor

from tacit.report.charts import CLASSES, scatter
from tacit.report.sample import Sample


class Maps(NamedTuple):
    """(title, caption, picture) of each map; legend entries (class, name) where coloured."""

    maps: list[tuple[str, str, Markup]]
    legend: list[tuple[int, str]]
    classes: int
    samples: int


def maps(sample: Sample) -> Maps:
    """PCA and t-SNE of the unit embeddings, coloured by label where there are at most 20."""
    unit = torch.nn.functional.normalize(sample.vectors.double(), dim=1)
    centred = unit - unit.mean(0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    total = float(singular.square().sum())
    shares = [float(s) ** 2 / total if total > 0 else 0.0 for s in singular[:2]]
    kinds, legend = None, []
    present = (
        [] if sample.labels is None else sorted(set(sample.labels[sample.labels >= 0].tolist()))
    )
    if 0 < len(present) <= CLASSES and sample.labels is not None:
        index = {label: i for i, label in enumerate(present)}
        kinds = np.array([index.get(int(label), -1) for label in sample.labels])
        legend = [(i, sample.names[label]) for label, i in index.items()]
    names = [name for _, name in legend]
    flat = (left[:, :2] * singular[:2]).numpy()
    if flat.shape[1] < 2:
        flat = np.pad(flat, ((0, 0), (0, 1)))
    picture = scatter(flat, classes=kinds, names=names, label="PCA map of embeddings")
    caption = (
        f"The two directions of largest variance: {shares[0]:.0%} across, "
        f"{sum(shares[1:]):.0%} upwards."
    )
    drawn = [("PCA", caption, picture)]
    if total > 1e-9 * len(unit):
        picture = scatter(_tsne(unit), classes=kinds, names=names, label="t-SNE map of embeddings")
        caption = "Keeps neighbours together; distances between groups and their sizes mean little."
        drawn.append(("t-SNE", caption, picture))
    return Maps(drawn, legend, len(present), len(unit))


def _tsne(unit: Tensor) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(unit) - 1) / 3)
    tsne = TSNE(
        init="pca" if unit.shape[1] > 1 else "random", perplexity=perplexity, random_state=0
    )
    # One thread: its small loops run ten times slower where threads wait for a busy core.
    with threadpool_limits(1):
        return tsne.fit_transform(unit.float().numpy())
