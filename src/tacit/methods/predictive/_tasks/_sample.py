"""Seeded draws without replacement."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LISTED = 1500  # nodes up to which all pairs are listed: a million
ROUNDS = 100


def draw(n: int, k: int, generator: torch.Generator) -> Tensor:
    """(min(k, n),) distinct integers below n, every subset equally likely; cheap for k << n.

    >>> sorted(draw(3, 5, torch.Generator().manual_seed(0)).tolist())
    [0, 1, 2]
    """
    if 4 * k >= n:
        return torch.randperm(n, generator=generator)[:k]
    found = torch.empty(0, dtype=torch.int64)
    while len(found) < k:  # 2 k draws leave more than k distinct ones nearly always
        more = torch.randint(n, (2 * k,), generator=generator)
        found = torch.cat([found, more]).unique()
    return found[torch.randperm(len(found), generator=generator)[:k]]


def contains(codes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Boolean: which of `wanted` are in the sorted array `codes`.

    >>> contains(np.array([2, 5]), np.array([5, 3, 2])).tolist()
    [True, False, True]
    """
    if len(codes) == 0:
        return np.zeros(len(wanted), bool)
    place = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
    return codes[place] == wanted


def draw_pairs(
    num_nodes: int,
    k: int,
    exclude: np.ndarray,
    generator: torch.Generator,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """(2, <= k) distinct unordered pairs i < j that are not excluded.

    Few possible pairs are listed, many are drawn and refused: never N x N memory. All the pairs
    that there are, where there are fewer than k.

    Parameters
    ----------
    exclude : sorted codes i * num_nodes + j of pairs i < j.
    first : one node of every pair is one of these; None = any.

    >>> draw_pairs(3, 9, np.array([0 * 3 + 1]), torch.Generator().manual_seed(0)).T.tolist()
    [[0, 2], [1, 2]]
    """
    if first is None and num_nodes <= LISTED:
        i, j = np.triu_indices(num_nodes, 1)
        codes = i * num_nodes + j
        codes = codes[~contains(exclude, codes)]
    else:
        codes = _by_refusal(num_nodes, k, exclude, generator, first)
    codes = codes[draw(len(codes), k, generator).numpy()]
    return np.stack([codes // num_nodes, codes % num_nodes])


def _by_refusal(
    num_nodes: int,
    k: int,
    exclude: np.ndarray,
    generator: torch.Generator,
    first: np.ndarray | None,
) -> np.ndarray:
    found = np.empty(0, np.int64)
    for _ in range(ROUNDS):  # one or two suffice unless nearly every pair is excluded
        if len(found) >= k:
            break
        i, j = torch.randint(num_nodes, (2, 2 * k + 16), generator=generator).numpy()
        if first is not None:
            i = first[torch.randint(len(first), (len(j),), generator=generator).numpy()]
        low, high = np.minimum(i, j), np.maximum(i, j)
        codes = (low * num_nodes + high)[low < high]
        found = np.unique(np.concatenate([found, codes[~contains(exclude, codes)]]))
    return found
