"""Cut a graph into parts of nearly equal size with few edges between them."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from tacit.errors import ConfigError

SPREAD = 4  # hops between the starts of two parts, where the graph is large enough


def partition(matrix: sparse.csr_matrix, parts: int) -> np.ndarray:
    """(N,) part of every node: by METIS (package pymetis), else by balanced growth with a warning.

    Raises
    ------
    ConfigError : parts below 1 or above the number of nodes.

    >>> import warnings
    >>> ring = sparse.csr_matrix(np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), 1, 1))
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     np.bincount(partition(ring, 2)).tolist()
    [3, 3]
    """
    n = matrix.shape[0]
    if not 1 <= parts <= n:
        raise ConfigError(f"{n} nodes cannot be cut into {parts} parts.")
    if importlib.util.find_spec("pymetis") is None:
        warnings.warn(
            "The package pymetis is not installed: the graph is cut by balanced growth around hubs "
            "instead of METIS. Install it with: pip install pymetis",
            stacklevel=2,
        )
        return balanced_growth(matrix, parts)
    import pymetis

    _, part = pymetis.part_graph(parts, xadj=matrix.indptr, adjncy=matrix.indices)
    return np.asarray(part, np.int64)


def balanced_growth(matrix: sparse.csr_matrix, parts: int) -> np.ndarray:
    """(N,) part of every node, at most ceil(N / parts) nodes each.

    Starts are nodes of high degree that lie apart; every node goes to the nearest start whose part
    is not full, the nearest nodes first. Deterministic.
    """
    n = matrix.shape[0]
    hops = csgraph.dijkstra(matrix, unweighted=True, indices=hubs(matrix, parts))
    hops = np.where(np.isfinite(hops), hops, n)  # another component: far, but allowed
    capacity = np.full(parts, -(-n // parts))
    part = np.full(n, -1)
    while (left := np.flatnonzero(part < 0)).size:  # each pass fills a part or places every node
        allowed = np.where(capacity[:, None] > 0, hops[:, left], np.inf)
        wish = allowed.argmin(0)
        order = np.lexsort((allowed[wish, np.arange(len(left))], wish))
        counts = np.bincount(wish, minlength=parts)
        rank = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        placed = order[rank < capacity[wish[order]]]
        part[left[placed]] = wish[placed]
        capacity -= np.bincount(wish[placed], minlength=parts)
    return part


def hubs(matrix: sparse.csr_matrix, count: int) -> np.ndarray:
    """(count,) distinct nodes: always the one of highest degree that is far from those before."""
    degree = np.asarray(matrix.sum(1)).ravel()
    nearest = np.full(matrix.shape[0], np.inf)
    chosen: list[int] = []
    for _ in range(count):
        distance = next(d for d in range(SPREAD, 0, -1) if (nearest >= d).any())
        chosen.append(int(np.where(nearest >= distance, degree, -1).argmax()))
        hops = csgraph.dijkstra(matrix, unweighted=True, indices=chosen[-1])
        nearest = np.minimum(nearest, hops)
    return np.array(chosen)


def centres(matrix: sparse.csr_matrix, part: np.ndarray, parts: int) -> np.ndarray:
    """(parts,) the node with most neighbours inside its own part; the first of equals.

    >>> star = sparse.csr_matrix(np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0.0]]))
    >>> centres(star, np.zeros(3, int), 1).tolist()
    [2]
    """
    coo = matrix.tocoo()
    inside = part[coo.row] == part[coo.col]
    degree = np.bincount(coo.row[inside], minlength=len(part))
    order = np.lexsort((np.arange(len(part)), -degree, part))
    first = np.searchsorted(part[order], np.arange(parts))
    return order[first]
