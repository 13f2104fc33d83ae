"""What the tasks read from a graph: its adjacency matrix, its features, and hops between nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from tacit.errors import DataError

EVERYTHING = 20_000  # nodes up to which N x N quantities are computed for all nodes


def graph_tensors(graph: Any) -> tuple[Tensor, Tensor]:
    """(x, edge_index) of an object that has both, or of the pair itself.

    Raises
    ------
    DataError : neither, no nodes, or an edge to a node that does not exist.

    >>> x, edge_index = graph_tensors((torch.eye(2), torch.tensor([[0], [1]])))
    >>> x.shape
    torch.Size([2, 2])
    """
    try:
        x, edge_index = graph if isinstance(graph, tuple) else (graph.x, graph.edge_index)
    except (AttributeError, ValueError):
        raise DataError(
            f"A graph is an object with x (N, F) and edge_index (2, E), or that pair, "
            f"not {type(graph).__name__}."
        ) from None
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"x must be a matrix (nodes, features), not {tuple(x.shape)}.")
    check_edges(edge_index, x.shape[0])
    return x, edge_index


def check_edges(edge_index: Tensor, num_nodes: int) -> None:
    """Refuse edges that are not pairs of existing nodes.

    Raises
    ------
    DataError
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise DataError(
            f"edge_index must be integers of shape (2, E), row 0 = source, row 1 = destination, "
            f"not {edge_index.dtype} of shape {tuple(edge_index.shape)}."
        )
    if edge_index.numel():
        low, high = int(edge_index.min()), int(edge_index.max())
        if low < 0 or high >= num_nodes:
            raise DataError(
                f"edge_index names node {low if low < 0 else high}, but the nodes are "
                f"0..{num_nodes - 1}."
            )


def adjacency(edge_index: Tensor, num_nodes: int) -> sparse.csr_matrix:
    """Symmetric 0/1 matrix (N, N): directions and duplicates do not matter.

    Self-loops are data and are kept, unless every node has one: then they were added for the
    convolution, and are dropped.

    >>> adjacency(torch.tensor([[0, 0, 2], [1, 1, 2]]), 3).toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    """
    check_edges(edge_index, num_nodes)
    source, target = edge_index.cpu().numpy()
    loops = source == target
    if len(np.unique(source[loops])) == num_nodes:
        source, target = source[~loops], target[~loops]
    ones = np.ones(2 * len(source))
    both = (np.concatenate([source, target]), np.concatenate([target, source]))
    matrix = sparse.coo_matrix((ones, both), shape=(num_nodes, num_nodes)).tocsr()
    matrix.data[:] = 1.0
    return matrix


def without_loops(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same graph, no node its own neighbour."""
    coo = matrix.tocoo()
    keep = coo.row != coo.col
    return sparse.csr_matrix((coo.data[keep], (coo.row[keep], coo.col[keep])), shape=coo.shape)


def inverse_hops(matrix: sparse.csr_matrix, sources: np.ndarray) -> np.ndarray:
    """(N, S) one over the length of the shortest path to every source.

    0 where there is no path, and 0 of a node to itself, as in the official code.

    >>> path = adjacency(torch.tensor([[0, 1], [1, 2]]), 4)
    >>> inverse_hops(path, np.array([0])).ravel().tolist()
    [0.0, 1.0, 0.5, 0.0]
    """
    hops = csgraph.dijkstra(matrix, unweighted=True, indices=sources).T
    out = np.zeros_like(hops)
    np.divide(1.0, hops, out=out, where=np.isfinite(hops) & (hops > 0))
    return out


def scipy_features(x: Tensor) -> sparse.csr_matrix:
    """Features (N, F), dense or torch sparse, as a float64 CSR matrix."""
    if x.layout == torch.strided:
        return sparse.csr_matrix(x.detach().cpu().double().numpy())
    csr = x.detach().cpu().to_sparse_csr() if x.layout != torch.sparse_csr else x.detach().cpu()
    parts = (csr.values().double(), csr.col_indices(), csr.crow_indices())
    return sparse.csr_matrix(tuple(part.numpy() for part in parts), shape=tuple(x.shape))
