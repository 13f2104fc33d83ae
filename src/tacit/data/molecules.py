"""`molecules:FILE.csv` and `molecules:NAME`: atoms and bonds, read through PyTorch Geometric."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.graph import GraphSetSource
from tacit.data.spec import OpenOptions, report_skipped
from tacit.errors import DataError, MissingExtraError

SMILES = ("smiles", "smile", "mol")
UNKNOWN_ATOM = 118  # of the 119 types: what has no atomic number of 1..118
BONDS = {1: 0, 2: 1, 3: 2, 12: 3}  # RDKit's single, double, triple, aromatic


def open_molecules(argument: str | None, options: OpenOptions) -> GraphSetSource:
    """Open a table of SMILES with 0/1 columns as targets, or a set of MoleculeNet by name.

    ``molecules:FILE.csv`` has a column `smiles`; every other column of 0, 1 or nothing is a task.
    ``molecules:NAME[@DIR]`` (BBBP, Tox21, BACE ...) is downloaded by PyTorch Geometric. Atoms are
    (type, chirality), bonds (type, direction); directions are not in PyTorch Geometric's molecules
    and are "none". Both need RDKit. Molecules are grouped by their Bemis-Murcko scaffold, which
    `split` keeps whole.

    Raises
    ------
    DataError : missing file or column, nothing readable, no network; with `strict` any row that is
        not a molecule.
    MissingExtraError : PyTorch Geometric or RDKit is not installed.
    """
    text = argument or ""
    if not text:
        raise DataError("molecules needs a table or a name: molecules:FILE.csv or molecules:BBBP.")
    try:
        import rdkit  # noqa: F401
        from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
    except ModuleNotFoundError as error:
        raise MissingExtraError("rdkit", "molecules", f"molecules:{text}") from error
    smiles, targets, graphs, skipped = (
        _from_table(Path(text).expanduser()) if text.endswith(".csv") else _from_name(text)
    )
    scaffolds = [MurckoScaffoldSmiles(smiles=word, includeChirality=True) for word in smiles]
    source = molecule_source(f"molecules:{Path(text).name}", graphs, targets, scaffolds)
    report_skipped(source.name, skipped, len(graphs) + len(skipped), options.strict)
    source.skipped = skipped
    return source.split(options.split)


def molecule_source(
    name: str,
    graphs: Sequence[Any],
    targets: np.ndarray | None = None,
    scaffolds: Sequence[str] | None = None,
) -> GraphSetSource:
    """Molecules from objects with PyTorch Geometric's `x`, `edge_index` and `edge_attr`.

    x[:, 0] is the atomic number, x[:, 1] the chirality, edge_attr[:, 0] RDKit's bond type.

    Parameters
    ----------
    graphs : one object a molecule.
    targets : (G, tasks), NaN where unknown; one task becomes the labels too.
    scaffolds : name of every molecule's group.
    """
    if not graphs:
        raise DataError(f"{name}: there are no molecules in it.")
    sizes = np.array([len(graph.x) for graph in graphs])
    shift = np.cumsum(sizes) - sizes
    raw = np.concatenate([np.asarray(graph.x)[:, :2] for graph in graphs]).astype(np.int64)
    number = np.where((raw[:, 0] >= 1) & (raw[:, 0] <= UNKNOWN_ATOM), raw[:, 0] - 1, UNKNOWN_ATOM)
    chirality = np.where(raw[:, 1] <= 2, raw[:, 1], 0)
    edges = [np.asarray(graph.edge_index) + s for graph, s in zip(graphs, shift)]
    bonds = np.concatenate([np.asarray(g.edge_attr).reshape(-1, 3)[:, 0] for g in graphs])
    kind = np.array([BONDS.get(int(bond), 0) for bond in bonds], np.int64)
    labels = None
    if targets is not None and targets.shape[1] == 1:
        labels = np.where(np.isnan(targets[:, 0]), -1, targets[:, 0]).astype(np.int64)
    groups = None if scaffolds is None else np.unique(scaffolds, return_inverse=True)[1]
    return GraphSetSource(
        name,
        np.stack([number, chirality], axis=1),
        np.concatenate(edges, axis=1).astype(np.int64),
        sizes,
        labels,
        targets=targets,
        edge_attr=np.stack([kind, np.zeros_like(kind)], axis=1),
        groups=groups,
    )


def _from_table(path: Path) -> tuple[list[str], np.ndarray | None, list[Any], list[Any]]:
    from torch_geometric.utils import from_smiles

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"molecules: {path} cannot be read ({error}).") from error
    column = next((c for c in (rows[0] if rows else {}) if c.lower() in SMILES), None)
    if column is None:
        raise DataError(f"molecules: {path} has no column 'smiles' or no rows.")
    tasks = [c for c in rows[0] if c != column and {row[c] for row in rows} <= _BINARY]
    smiles, graphs, kept, skipped = [], [], [], []
    for i, row in enumerate(rows):
        graph = from_smiles(row[column])
        if graph.x.shape[0] == 0:
            skipped.append((f"row {i + 2}", f"'{row[column]}' is not a molecule"))
            continue
        smiles.append(row[column])
        graphs.append(graph)
        kept.append([float(row[c]) if row[c] else np.nan for c in tasks])
    return smiles, np.array(kept, np.float32) if tasks else None, graphs, skipped


_BINARY = {"0", "1", "", "0.0", "1.0"}


def _from_name(text: str) -> tuple[list[str], np.ndarray | None, list[Any], list[Any]]:
    from torch_geometric.datasets import MoleculeNet

    name, _, folder = text.partition("@")
    root = Path(folder).expanduser() if folder else Path.home() / ".cache" / "tacit" / "molecules"
    try:
        data = list(MoleculeNet(str(root), name))
    except Exception as error:
        raise DataError(
            f"molecules:{name} could not be opened ({type(error).__name__}: {error}). "
            "Give a table: molecules:FILE.csv."
        ) from error
    graphs = [graph for graph in data if graph.x.shape[0]]
    targets = np.concatenate([np.asarray(graph.y, np.float32) for graph in graphs])
    return [graph.smiles for graph in graphs], targets, graphs, []
