"""Samples beside their nearest neighbours in the embedding space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tacit.evaluation import cosine_neighbors
from tacit.report.pictures import pictures
from tacit.report.sample import Sample

QUERIES, NEIGHBOURS = 8, 6


class Neighbour(NamedTuple):
    """One sample with its similarity to the query; `same` tells whether the labels agree."""

    image: str
    similarity: str
    name: str
    same: bool


class NeighbourRow(NamedTuple):
    """A query and its nearest neighbours."""

    image: str
    name: str
    neighbours: list[Neighbour]


def neighbour_rows(sample: Sample) -> list[NeighbourRow]:
    """Eight queries, of different classes where possible, with their six nearest neighbours."""
    k = min(NEIGHBOURS, len(sample.vectors) - 1)
    near = cosine_neighbors(sample.vectors, None, k)
    rows = []
    for query in _queries(sample):
        found = near.indices[query].tolist()
        raw = sample.source.batch(sample.positions[[query, *found]])
        shown = pictures(sample.source.modality, raw)
        rows.append(
            NeighbourRow(
                shown[0],
                _name(sample, query),
                [
                    Neighbour(picture, f"{s:.3f}", _name(sample, i), _same(sample, query, i))
                    for picture, s, i in zip(
                        shown[1:], near.similarities[query].tolist(), found, strict=True
                    )
                ],
            )
        )
    return rows


def _queries(sample: Sample) -> list[int]:
    """The samples are in random order: the first of every class, then the first of the others."""
    n = len(sample.vectors)
    if sample.labels is None:
        return list(range(min(QUERIES, n)))
    _, first = np.unique(sample.labels, return_index=True)
    chosen = sorted(first.tolist())[: min(QUERIES, n)]
    others = [i for i in range(n) if i not in set(chosen)]
    chosen += others[: max(0, min(QUERIES, n) - len(chosen))]
    return sorted(chosen, key=lambda i: (int(sample.labels[i]), i))  # type: ignore[index]


def _name(sample: Sample, i: int) -> str:
    if sample.labels is None or sample.labels[i] < 0:
        return ""
    return sample.names[int(sample.labels[i])]


def _same(sample: Sample, i: int, j: int) -> bool:
    return (
        sample.labels is not None
        and sample.labels[i] >= 0
        and bool(sample.labels[i] == sample.labels[j])
    )
