"""`tu:NAME[@DIR]`: the graph classification sets of TU Dortmund (MUTAG, IMDB-BINARY ...)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from tacit.data.graph import GraphSetSource
from tacit.data.graph_edges import tidy_edges
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, MissingExtraError

MAX_DEGREE = 400


def open_tu(argument: str | None, options: OpenOptions) -> GraphSetSource:
    """Open ``tu:NAME``; ``@DIR`` is the folder of ``NAME_A.txt`` and its companions.

    Features are the one-hot labels of the nodes, or where there are none their one-hot degree,
    from 400 on all alike (as GraphMAE is published). Without a folder, PyTorch Geometric downloads
    the set.

    Raises
    ------
    DataError : no name, a missing or damaged file, no network.
    MissingExtraError : no folder is given and PyTorch Geometric is not installed.
    """
    name, _, folder = (argument or "").partition("@")
    if not name:
        raise DataError("tu needs the name of a set: tu:MUTAG or tu:MUTAG@DIR.")
    path = Path(folder).expanduser() if folder else _download(name)
    return read_tu(path, name).split(options.split)


def read_tu(folder: Path, name: str) -> GraphSetSource:
    """The text files of a set; node numbers begin at 1."""
    folder = folder / name if (folder / name / f"{name}_A.txt").is_file() else folder
    owner = _numbers(folder / f"{name}_graph_indicator.txt")[:, 0]
    edges = _numbers(folder / f"{name}_A.txt", columns=2).T - 1
    labels = _numbers(folder / f"{name}_graph_labels.txt")[:, 0]
    if (np.diff(owner) < 0).any() or owner.min() != 1 or owner.max() != len(labels):
        raise DataError(
            f"tu: the graphs in {name}_graph_indicator.txt must be 1..{len(labels)} in order."
        )
    node_labels = folder / f"{name}_node_labels.txt"
    if node_labels.is_file():
        category = np.unique(_numbers(node_labels)[:, 0], return_inverse=True)[1]
        if len(category) != len(owner):
            raise DataError(
                f"tu: {node_labels.name} has {len(category)} rows for {len(owner)} nodes."
            )
    else:
        if edges.size and (edges.min() < 0 or edges.max() >= len(owner)):
            raise DataError(f"tu: an edge of {name}_A.txt names a node beyond {len(owner)}.")
        degree = np.bincount(tidy_edges(edges, len(owner))[1], minlength=len(owner))
        category = degree.clip(max=MAX_DEGREE)
    ones = np.ones(len(category), np.float32)
    x = sparse.csr_matrix((ones, (np.arange(len(category)), category)))
    classes, target = np.unique(labels, return_inverse=True)
    return GraphSetSource(
        f"tu:{name}",
        x if x.shape[1] >= 64 else x.toarray(),
        edges,
        np.bincount(owner)[1:],
        target.astype(np.int64),
        class_names=[str(c) for c in classes],
    )


def _numbers(path: Path, columns: int = 1) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"tu: there is no file {path}.")
    try:
        numbers = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"tu: {path} cannot be read ({error}).") from error
    if not numbers.size or numbers.shape[1] < columns:
        raise DataError(f"tu: {path} must have {columns} columns of whole numbers.")
    return numbers


def _download(name: str) -> Path:
    try:
        from torch_geometric.datasets import TUDataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch-geometric", "graph", f"tu:{name}") from error
    root = Path.home() / ".cache" / "tacit" / "tu"
    try:
        return Path(TUDataset(str(root), name).raw_dir)
    except Exception as error:
        raise DataError(
            f"tu:{name} could not be downloaded ({type(error).__name__}: {error}). "
            f"Give a folder that has its files: tu:{name}@DIR."
        ) from error
