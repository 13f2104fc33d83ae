"""Exact cosine nearest neighbours in bounded memory, and the weighted kNN classifier on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
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
from .nearest import Rough, nearest, screens

#: rows of the queries and of the bank whose similarities are held at once
QUERY_BLOCK = 256
GPU_QUERY_BLOCK = 2048
BANK_BLOCK = 65536
#: numbers of the bank that are held at once
BANK_NUMBERS = 2**25


class Neighbors(NamedTuple):
    """Cosine similarities (m, k), largest first, and the bank rows (m, k) that they belong to."""

    similarities: Float[Tensor, "m k"]
    indices: Int[Tensor, "m k"]


@torch.no_grad()
def cosine_neighbors(
    bank: Rows, queries: OtherRows | None, k: int, *, check: bool = True
) -> Neighbors:
    """The k rows of the bank with the largest cosine similarity to each query, exactly.

    Memory is bounded by blocks of 256 (on GPUs 2,048) x 65,536 similarities, whatever the sizes;
    both may be numpy memory maps. Computed in float32 on the bank's device; CPUs that are fast with
    bf16 take a first look in it, with its error bounded.

    Parameters
    ----------
    bank : (n, d) rows to search.
    queries : (m, d); None searches the bank for its own rows, each without itself.
    k : number of neighbours, at most n (n - 1 for the bank's own rows).
    check : look for NaN rows first.

    Raises
    ------
    ValueError : k larger than the bank, different widths, rows with NaN or infinite values.

    >>> import torch
    >>> cosine_neighbors(torch.eye(3), torch.tensor([[0.0, 2.0, 1.0]]), k=2).indices
    tensor([[1, 2]])
    """
    check_matrix(bank, "bank")
    n = bank.shape[0]
    itself = queries is None
    rows = bank if queries is None else queries
    check_matrix(rows, "queries")
    check_same_width(bank, rows, "bank", "queries")
    limit = n - 1 if itself else n
    if not 1 <= k <= limit:
        raise ValueError(
            f"k = {k} neighbours were asked for, but a bank of {n} rows has at most {limit}"
            f"{' beside the row itself' if itself else ''}: pass 1 <= k <= {limit}."
        )
    if check:
        check_finite(bank, "bank")
        if not itself:
            check_finite(rows, "queries")
    device = bank.device if isinstance(bank, Tensor) else torch.device("cpu")
    values = torch.full((rows.shape[0], k), -torch.inf)
    indices = torch.full((rows.shape[0], k), -1, dtype=torch.int64)
    most_rows = GPU_QUERY_BLOCK if device.type == "cuda" else QUERY_BLOCK
    step = max(k, min(BANK_BLOCK, BANK_NUMBERS // bank.shape[1]), 1)
    for base, candidates in iter_blocks(bank, torch.float32, step):
        unit = unit_rows(candidates)
        rough = Rough.of(unit) if screens(device) else None
        most = min(k, len(unit))
        for start, block in iter_blocks(rows, torch.float32, most_rows):
            query = unit_rows(block.to(device))
            own = start - base if itself else None
            found, columns = (x.cpu() for x in nearest(query, unit, rough, most, own))
            part = slice(start, start + len(query))
            if base == 0 and most == k:
                values[part], indices[part] = found, columns
                continue
            both = torch.cat([values[part], found], 1)
            values[part], where = both.topk(k, dim=1)
            indices[part] = torch.cat([indices[part], columns + base], 1).gather(1, where)
    return Neighbors(values, indices)


@torch.no_grad()
def knn_classify(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows | None,
    *,
    k: int = 20,
    temperature: float = 0.07,
    n_classes: int | None = None,
    return_scores: bool = False,
) -> Int[Tensor, " m"] | Float[Tensor, "m classes"]:
    """Weighted k-nearest-neighbour classification by cosine similarity.

    Each of the k neighbours votes for its class with weight ``exp(similarity / temperature)``.

    Parameters
    ----------
    train_x, train_y : (n, d) bank and its integer labels >= 0.
    test_x : (m, d) queries; None classifies the bank's own rows, each without itself
        (leave-one-out).
    k : neighbours, at most the bank's size. Usual pairs (k, temperature): (20, 0.07), (200, 0.1).
    temperature : > 0; large values give a plain majority vote.
    n_classes : number of classes; None is the largest label + 1.
    return_scores : give the weights, normalised to sum to 1, instead of the predicted class.

    Returns
    -------
    (m,) predicted classes, ties to the lowest; or (m, n_classes) scores.

    References
    ----------
    Wu et al., Unsupervised feature learning via non-parametric instance discrimination, CVPR
    2018, section 3.4.

    >>> import torch
    >>> knn_classify(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[0.1, 0.9]]), k=1)
    tensor([1])
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}.")
    check_matrix(train_x, "train_x")
    labels = check_labels(train_y, train_x.shape[0], "train_y")
    if int(labels.min()) < 0:
        raise ValueError("train_y holds negative labels: classes must be numbered from 0.")
    classes = n_classes or int(labels.max()) + 1
    if int(labels.max()) >= classes:
        raise ValueError(f"n_classes is {classes}, but train_y holds label {int(labels.max())}.")
    near = cosine_neighbors(train_x, test_x, k)
    scores = []
    for value, index in zip(near.similarities.split(65536), near.indices.split(65536)):
        # Only ratios of weights matter, and exp(similarity / T) overflows for small T.
        weight = torch.softmax(value / temperature, dim=1)
        score = torch.zeros(len(value), classes).scatter_add_(1, labels[index], weight)
        scores.append(score if return_scores else score.argmax(1))
    return torch.cat(scores)


def knn_accuracy(
    train_x: Rows,
    train_y: Labels,
    test_x: OtherRows | None = None,
    test_y: OtherLabels | None = None,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of queries that `knn_classify` gets right, in [0, 1].

    Without `test_x` and `test_y` every row of the bank is classified by the others.

    >>> import torch
    >>> x = torch.eye(2).repeat(5, 1)
    >>> knn_accuracy(x, torch.arange(10) % 2, k=3)
    1.0
    """
    if (test_x is None) != (test_y is None):
        raise ValueError("give both test_x and test_y, or neither (leave-one-out).")
    truth = (
        check_labels(train_y, train_x.shape[0], "train_y")
        if test_x is None or test_y is None
        else check_labels(test_y, test_x.shape[0], "test_y")
    )
    predicted = knn_classify(train_x, train_y, test_x, k=k, temperature=temperature)
    return float((predicted == truth).double().mean())
