"""Retrieval by cosine similarity: mean average precision, recall and precision at k, MRR."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .inputs import (
    Labels,
    OtherLabels,
    OtherRows,
    Rows,
    check_finite,
    check_labels,
    check_matrix,
    check_same_width,
    iter_blocks,
    unit_rows,
)

#: similarities held at once; a ranking needs a whole row of the bank for each query
_ELEMENTS = 2**24


@torch.no_grad()
def retrieval_metrics(
    bank_x: Rows,
    bank_y: Labels,
    query_x: OtherRows | None = None,
    query_y: OtherLabels | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
    recall: Literal["any", "fraction"] = "any",
) -> dict[str, float]:
    """Rank the bank by cosine similarity to each query; rows of the query's class are relevant.

    Parameters
    ----------
    bank_x, bank_y : (n, d) rows and their integer labels.
    query_x, query_y : (m, d) and labels; None for both: every row of the bank queries the others.
    ks : cut-offs, each at most the number of rows searched.
    recall : "any" counts a query as 1 where a relevant row is among the first k (metric learning's
        Recall@K); "fraction" is the share of the relevant rows found (information retrieval's).

    Returns
    -------
    dict with "map" (over the whole ranking), "mrr", and "recall@k", "precision@k" for every k,
    each a mean over the queries that have a relevant row in the bank. Cost grows with m n log n;
    memory does not grow with m.

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> retrieval_metrics(x, torch.tensor([0, 0, 1, 1]), ks=[1])
    {'map': 1.0, 'mrr': 1.0, 'recall@1': 1.0, 'precision@1': 1.0}
    """
    if (query_x is None) != (query_y is None):
        raise ValueError("give both query_x and query_y, or neither (leave-one-out).")
    if recall not in ("any", "fraction"):
        raise ValueError(f"recall must be 'any' or 'fraction', not {recall!r}.")
    check_matrix(bank_x, "bank_x")
    bank_labels = check_labels(bank_y, bank_x.shape[0], "bank_y")
    itself = query_x is None or query_y is None
    rows = bank_x if query_x is None else query_x
    check_matrix(rows, "query_x")
    check_same_width(bank_x, rows, "bank_x", "query_x")
    labels = bank_labels if query_y is None else check_labels(query_y, rows.shape[0], "query_y")
    searched = bank_x.shape[0] - itself
    if not ks or not all(1 <= k <= searched for k in ks):
        raise ValueError(f"every k must be between 1 and the {searched} rows searched, not {ks}.")
    check_finite(bank_x, "bank_x")
    if not itself:
        check_finite(rows, "query_x")

    device = bank_x.device if isinstance(bank_x, Tensor) else torch.device("cpu")
    bank_labels = bank_labels.to(device)
    sums = torch.zeros(2 + 2 * len(ks), dtype=torch.float64)
    counted = 0
    step = max(1, min(_ELEMENTS // bank_x.shape[0], 1024))
    for start, block in iter_blocks(rows, torch.float32, step):
        query = unit_rows(block.to(device))
        similarity = torch.cat(
            [query @ unit_rows(part).T for _, part in iter_blocks(bank_x, torch.float32)], 1
        )
        if itself:
            own = torch.arange(len(query), device=device)
            similarity[own, own + start] = -torch.inf
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, :searched]
        truth = labels[start : start + len(query)].to(device)
        relevant = bank_labels[order] == truth[:, None]
        found = relevant.any(1)
        counted += int(found.sum())
        sums += _sum_metrics(relevant[found], ks, recall).cpu()
    if counted == 0:
        raise ValueError("no query has a row of its class in the bank: nothing can be retrieved.")
    if counted < rows.shape[0]:
        warnings.warn(
            f"{rows.shape[0] - counted} of {rows.shape[0]} queries have no row of their class in "
            "the bank; they are left out of the means.",
            stacklevel=2,
        )
    names = ["map", "mrr", *(f"recall@{k}" for k in ks), *(f"precision@{k}" for k in ks)]
    return dict(zip(names, (sums / counted).tolist()))


def _sum_metrics(relevant: Tensor, ks: Sequence[int], recall: str) -> Tensor:
    """Sums over queries of AP, reciprocal rank, recall@k and precision@k from ranked relevance."""
    hits = relevant.cumsum(1)
    position = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    total = hits[:, -1].double()
    precision = (hits / position) * relevant
    average = precision.sum(1, dtype=torch.float64) / total
    first = relevant.int().argmax(1) + 1
    out = [average.sum(), (1 / first.double()).sum()]
    for k in ks:
        within = hits[:, k - 1].double()
        out.append(((within > 0).double() if recall == "any" else within / total).sum())
    out += [(hits[:, k - 1].double() / k).sum() for k in ks]
    return torch.stack(out)
