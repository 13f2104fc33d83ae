"""`planetoid:NAME[@DIR]`: Cora, CiteSeer and PubMed with the public split."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tacit.data.graph import GraphSource
from tacit.data.plain_pickle import load_plain
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, MissingExtraError, did_you_mean

NAMES = ("cora", "citeseer", "pubmed")
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")
VALIDATION = 500
GAPS = 10  # nodes a node with features: CiteSeer misses a few


def open_planetoid(argument: str | None, options: OpenOptions) -> GraphSource:
    """Open ``planetoid:cora``, ``citeseer`` or ``pubmed``; ``@DIR`` names the original files.

    Features are rows of a bag of words divided by their sum (empty rows stay zero), edges are
    undirected, the split is the public one: 20 training nodes a class, 500 for validation, 1,000
    for testing. Without a folder, PyTorch Geometric downloads the files.

    Raises
    ------
    DataError : unknown name, missing or damaged file, no network.
    MissingExtraError : no folder is given and PyTorch Geometric is not installed.
    """
    name, _, folder = (argument or "").partition("@")
    name = name.lower()
    if name not in NAMES:
        raise DataError(
            f"planetoid has no data set '{name}'.{did_you_mean(name, NAMES)} "
            f"Use planetoid:NAME or planetoid:NAME@DIR with {', '.join(NAMES)}."
        )
    path = Path(folder).expanduser() if folder else _download(name)
    return read_planetoid(path, name).split(options.split)


def read_planetoid(folder: Path, name: str) -> GraphSource:
    """The original files ``ind.NAME.{x,tx,allx,y,ty,ally,graph,test.index}`` of a folder."""
    parts = {part: _load(folder / f"ind.{name}.{part}") for part in PARTS}
    index = _test_index(folder / f"ind.{name}.test.index")
    try:
        return _assemble(name, parts, index)
    except DataError:
        raise
    except Exception as error:  # parts of another data set fit together in no foreseeable way
        raise DataError(
            f"planetoid: the files of '{name}' in {folder} do not fit together ({error})."
        ) from error


def _assemble(name: str, parts: dict[str, Any], index: np.ndarray) -> GraphSource:
    known, train = parts["allx"].shape[0], parts["x"].shape[0]
    nodes = max(len(parts["graph"]), int(index.max()) + 1)
    if index.min() < 0 or nodes > GAPS * (known + len(index)):
        raise DataError(f"planetoid: the test index of '{name}' names the node {nodes - 1}.")
    # CiteSeer: some test nodes have no row in tx; they stay without words and label
    x = sparse.lil_matrix((nodes, parts["allx"].shape[1]), dtype=np.float32)
    x[:known] = parts["allx"]
    x[index] = parts["tx"]
    labels = np.full(nodes, -1, np.int64)
    for rows, y in ((np.arange(known), parts["ally"]), (index, parts["ty"])):
        labels[rows] = np.where(y.any(1), y.argmax(1), -1)
    neighbours = list(parts["graph"].values())
    targets = np.fromiter(chain.from_iterable(neighbours), np.int64)
    sources = np.repeat(np.fromiter(parts["graph"], np.int64), [len(n) for n in neighbours])
    total = x.sum(1)
    scale = np.divide(1, total, out=np.zeros_like(total), where=np.asarray(total) > 0)
    return GraphSource(
        f"planetoid:{name}",
        x.tocsr().multiply(scale).tocsr(),
        np.stack([sources, targets]),
        labels,
        train=np.arange(train),
        val=np.arange(train, train + VALIDATION),
        test=np.sort(index),
    )


def _test_index(path: Path) -> np.ndarray:
    try:
        return np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(f"planetoid: {path} cannot be read ({error}).") from error


def _load(path: Path) -> Any:
    if not path.is_file():
        raise DataError(
            f"planetoid: there is no file {path}. The folder must hold the original files "
            f"ind.NAME.{{{','.join(PARTS)},test.index}}."
        )
    return load_plain(path, encoding="latin1")


def _download(name: str) -> Path:
    """The original files, fetched by PyTorch Geometric into its cache."""
    try:
        from torch_geometric.datasets import Planetoid
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch-geometric", "graph", f"planetoid:{name}") from error
    root = Path.home() / ".cache" / "tacit" / "planetoid"
    try:
        return Path(Planetoid(str(root), name.capitalize()).raw_dir)
    except Exception as error:
        raise DataError(
            f"planetoid:{name} could not be downloaded ({type(error).__name__}: {error}). "
            f"Give a folder that has the original files: planetoid:{name}@DIR."
        ) from error
