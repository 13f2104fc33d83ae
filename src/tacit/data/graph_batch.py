"""What a batch of graphs is, and features and edges as tensors."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from tacit.errors import DataError

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

SPARSE_BELOW = 0.1  # features with a smaller share of entries stay sparse
Matrix = Any  # numpy array or scipy CSR matrix, which has no types


@dataclass
class GraphBatch:
    """One graph, or the disjoint union of several, and which of its rows are the samples.

    x : (N, F) features, dense or torch sparse CSR; integers (N, 2) for molecules.
    edge_index : (2, E) int64, row 0 = source, row 1 = destination.
    batch : (N,) graph of every node; None = one graph, whose samples are nodes.
    seeds : (n,) nodes that are the samples; None = all nodes.
    edge_attr : (E, ...) or None.
    num_graphs : number of graphs where `batch` is given.

    >>> loops = torch.arange(3).expand(2, 3)
    >>> len(GraphBatch(torch.eye(3), loops, seeds=torch.tensor([2])))
    1
    """

    x: Tensor
    edge_index: Tensor
    batch: Tensor | None = None
    seeds: Tensor | None = None
    edge_attr: Tensor | None = None
    num_graphs: int | None = None

    def __len__(self) -> int:
        if self.batch is not None:
            return int(self.batch.max()) + 1 if self.num_graphs is None else self.num_graphs
        return self.x.shape[0] if self.seeds is None else len(self.seeds)

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def as_tensor(x: Matrix) -> Tensor:
    """Dense or scipy CSR features as a torch tensor of the same layout."""
    if not sparse.issparse(x):
        return torch.from_numpy(np.ascontiguousarray(x))
    pointer, column = (torch.from_numpy(a.astype(np.int64)) for a in (x.indptr, x.indices))
    return torch.sparse_csr_tensor(
        pointer, column, torch.from_numpy(x.data), x.shape, check_invariants=False
    )


def with_loops(edges: np.ndarray, nodes: int) -> Tensor:
    """Edges (without self-loops), then one self-loop a node."""
    loops = np.broadcast_to(np.arange(nodes), (2, nodes))
    return torch.from_numpy(np.concatenate([edges, loops], axis=1))


def checked_csr(parts: Sequence[Any], name: str) -> Matrix:
    """A CSR matrix from parts that others wrote; scipy's own compiled code trusts them.

    Parameters
    ----------
    parts : data, indices, indptr and shape.

    Raises
    ------
    DataError : not integers where they must be, another length, or a column that does not exist.
    """
    arrays = [np.asarray(part) for part in parts]
    integers = all(part.dtype.kind in "iu" for part in arrays[1:])
    if not integers or arrays[0].dtype.kind not in "bufi" or arrays[3].shape != (2,):
        raise DataError(
            f"{name}: the CSR parts must be numbers, with integer indices, pointers and two sides."
        )
    try:
        if any(part.ndim != 1 for part in arrays):
            raise ValueError("a part has more than one dimension")
        if len(arrays[2]) != int(arrays[3][0]) + 1:
            raise ValueError(f"{len(arrays[2])} pointers for {arrays[3][0]} rows")
        sides = tuple(int(side) for side in arrays[3])
        matrix = sparse.csr_matrix(tuple(arrays[:3]), shape=sides)
        matrix.check_format(full_check=True)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{name}: the CSR parts do not fit together ({error}).") from error
    return matrix


def as_matrix(x: Any, name: str, *, categories: bool = False) -> Matrix:
    """Checked features: float32, scipy CSR where mostly zero.

    With `categories`, integers (such as atom types) stay integers.

    Raises
    ------
    DataError : not a matrix of numbers, no rows or columns, NaN.
    """
    x = x.tocsr() if sparse.issparse(x) else np.asarray(x)
    if x.ndim != 2 or 0 in x.shape:
        why = "there are no nodes: " if x.ndim == 2 and not x.shape[0] else ""
        raise DataError(f"{name}: {why}features must be a matrix (nodes, features), not {x.shape}.")
    values = x.data if sparse.issparse(x) else x
    if values.dtype.kind not in "bufi":
        raise DataError(f"{name}: features of {values.dtype} are not numbers.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
        nodes = np.searchsorted(x.indptr, bad, "right") - 1 if sparse.issparse(x) else bad
        raise DataError(
            f"{name}: the features of {len(np.unique(nodes))} of {x.shape[0]} nodes hold NaN or "
            f"infinity, the first is node {nodes[0]}. Repair or remove those nodes."
        )
    if categories and values.dtype == np.int64 and not sparse.issparse(x):
        return x
    if not sparse.issparse(x) and x.shape[1] >= 64 and np.count_nonzero(x) < SPARSE_BELOW * x.size:
        x = sparse.csr_matrix(x)
    return x.astype(np.float32)


def content_hash(x: Matrix, *arrays: np.ndarray | None) -> str:
    """Hash of features and further arrays."""
    digest = hashlib.blake2b(repr(x.shape).encode(), digest_size=16)
    held = (x.indptr, x.indices, x.data) if sparse.issparse(x) else (x,)
    for array in (*held, *arrays):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
