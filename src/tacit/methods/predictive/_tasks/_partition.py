"""Cut a graph into parts of nearly equal size with few edges between them."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from tacit.errors import ConfigError

SLACK = 1.03  # largest part / mean, METIS's own default
SWEEPS = 30
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
            "instead of METIS. Install it with: pip install 'tacit[graph]'",
            stacklevel=2,
        )
        return balanced_growth(matrix, parts)
    import pymetis

    adjacency = pymetis.CSRAdjacency(matrix.indptr, matrix.indices)
    _, part = pymetis.part_graph(parts, adjacency)
    return np.asarray(part, np.int64)


def balanced_growth(matrix: sparse.csr_matrix, parts: int) -> np.ndarray:
    """(N,) part of every node, none empty, none more than 3 % above the mean (rounded up).

    Starts are nodes of high degree that lie apart; every node goes to the nearest start whose part
    is not full, the nearest nodes first. Then nodes with more neighbours in another part move
    there, as far as it has room. Deterministic.
    """
    n = matrix.shape[0]
    starts = hubs(matrix, parts)
    hops = csgraph.dijkstra(matrix, unweighted=True, indices=starts)
    hops = np.where(np.isfinite(hops), hops, n)  # another component: far, but allowed
    room = np.full(parts, -(-n // parts))
    part = np.full(n, -1)
    while (left := np.flatnonzero(part < 0)).size:  # each pass fills a part or places every node
        allowed = np.where(room[:, None] > 0, hops[:, left], np.inf)
        wish = allowed.argmin(0)
        placed = _first_come(wish, allowed[wish, np.arange(len(left))], room)
        part[left[placed]] = wish[placed]
        room -= np.bincount(wish[placed], minlength=parts)
    return _refine(matrix, part, parts, starts)


def _refine(
    matrix: sparse.csr_matrix, part: np.ndarray, parts: int, fixed: np.ndarray
) -> np.ndarray:
    n = len(part)
    largest = max(int(SLACK * n / parts), -(-n // parts))
    nodes, movable = np.arange(n), np.ones(n, bool)
    movable[fixed] = False
    for sweep in range(SWEEPS):
        votes = matrix @ np.eye(parts)[part]
        wish = votes.argmax(1)
        gain = votes[nodes, wish] - votes[nodes, part]
        # every second node at a time: two neighbours do not change places for ever
        movers = np.flatnonzero((gain > 0) & movable & (nodes % 2 == sweep % 2))
        room = largest - np.bincount(part, minlength=parts)
        moved = movers[_first_come(wish[movers], -gain[movers], room)]
        part[moved] = wish[moved]
    return part


def _first_come(wish: np.ndarray, cost: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Positions of those whose wished part has room, the cheapest first."""
    order = np.lexsort((cost, wish))
    counts = np.bincount(wish, minlength=len(room))
    rank = np.arange(len(wish)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank < room[wish[order]]]


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

    An empty part (METIS may leave one) gets a node of high degree that is no centre yet.

    >>> star = sparse.csr_matrix(np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0.0]]))
    >>> centres(star, np.zeros(3, int), 2).tolist()
    [2, 0]
    """
    coo = matrix.tocoo()
    inside = part[coo.row] == part[coo.col]
    degree = np.bincount(coo.row[inside], minlength=len(part))
    order = np.lexsort((np.arange(len(part)), -degree, part))
    found, first = np.unique(part[order], return_index=True)
    out = np.full(parts, -1)
    out[found] = order[first]
    by_degree = np.argsort(-np.asarray(matrix.sum(1)).ravel(), kind="stable")
    spare = by_degree[~np.isin(by_degree, out)]
    out[out < 0] = spare[: (out < 0).sum()]
    return out
