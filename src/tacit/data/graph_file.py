"""`graph:FILE`: a graph, or a set of graphs, from arrays or tables of one's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.graph import GraphSetSource, GraphSource
from tacit.data.graph_batch import checked_csr
from tacit.data.npz import Npz
from tacit.data.spec import OpenOptions
from tacit.errors import DataError, did_you_mean

SIDES = ("train", "val", "test")
CSR = ("x_data", "x_indices", "x_indptr", "x_shape")
KEYS = (
    *("x", *CSR, "edge_index", "y", "sizes", "edge_attr"),
    *("targets", *(f"{side}_mask" for side in SIDES)),
)
SETTINGS = ("fanouts", "directed")
ENDS = {"source", "target", "src", "dst", "from", "to", "u", "v", "node1", "node2"}  # headers
ID, LABEL, SPLIT = ("id", "node", "node_id"), ("label", "y", "class"), ("split",)


def open_graph(argument: str | None, options: OpenOptions) -> GraphSource | GraphSetSource:
    """Open ``graph:FILE.npz`` or ``graph:EDGES.csv@NODES.csv``.

    The archive holds `x` (N, F) (or its CSR parts `x_data`, `x_indices`, `x_indptr`, `x_shape`),
    `edge_index` (2, E), and perhaps `y`, `train_mask`, `val_mask`, `test_mask`; with `sizes` (G,),
    the nodes of every graph, it is a set of graphs, `y` has a label a graph, and `edge_attr` and
    `targets` may be there. The tables: two columns of node names or numbers in EDGES; in NODES a
    row a node, a column `id` where nodes have names, `label`, `split` (train, val, test), and
    numbers, which are the features.

    ``?fanouts=10,5`` after it samples so many neighbours a hop for every batch; ``?directed=1``
    keeps the directions of the edges. Both: ``?fanouts=10,5&directed=1``.

    Raises
    ------
    DataError : a file or an array is missing or does not fit; the message names it.
    """
    text, _, settings = (argument or "").partition("?")
    if not text:
        raise DataError("graph needs a file: graph:FILE.npz or graph:EDGES.csv@NODES.csv.")
    chosen = _settings(settings)
    edges, at, nodes = text.partition("@")
    if at:
        source: GraphSource | GraphSetSource = _from_tables(Path(edges), Path(nodes), chosen)
    else:
        source = _from_archive(Path(text).expanduser(), chosen)
    return source.split(options.split)


def _settings(text: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in SETTINGS:
            raise DataError(
                f"graph has no setting '{key}'.{did_you_mean(key, SETTINGS)} "
                f"Known: {', '.join(SETTINGS)}."
            )
        if key == "directed":
            chosen["undirected"] = value in ("0", "false", "no")
            continue
        try:
            chosen["fanouts"] = tuple(int(number) for number in value.split(","))
        except ValueError:
            raise DataError(f"fanouts={value}: write numbers, for instance 10,5.") from None
    return chosen


def _from_archive(path: Path, chosen: dict[str, Any]) -> GraphSource | GraphSetSource:
    if not path.is_file():
        hint = " Settings follow '?', for instance ?fanouts=10,5." if "#" in path.name else ""
        raise DataError(f"graph: the file {path} does not exist.{hint}")
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        raise DataError(f"graph: edges need a table of nodes: graph:{path}@NODES.csv.")
    with Npz(path) as archive:
        held = {key: archive[key] for key in archive.files}
    name = f"graph:{path.name}"
    for key in held:
        if key not in KEYS:
            raise DataError(
                f"{name}: there is no use for the array '{key}'.{did_you_mean(key, KEYS)} "
                f"Known: {', '.join(KEYS)}."
            )
    for key in (*(CSR if "x_data" in held else ("x",)), "edge_index"):
        if key not in held:
            raise DataError(f"{name}: the array '{key}' is missing; it has {', '.join(held)}.")
    if "x_data" in held:
        held["x"] = checked_csr([held[key] for key in CSR], name)
    labels = _labels(held.get("y"), name)
    if "sizes" in held:
        return GraphSetSource(
            name,
            held["x"],
            held["edge_index"],
            held["sizes"],
            labels,
            edge_attr=held.get("edge_attr"),
            targets=held.get("targets"),
        )
    masks: dict[str, Any] = {side: held.get(f"{side}_mask") for side in SIDES}
    return GraphSource(name, held["x"], held["edge_index"], labels, **masks, **chosen)


def _labels(y: np.ndarray | None, name: str) -> np.ndarray | None:
    if y is None:
        return None
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise DataError(f"{name}: y must be one dimension of integers, not {y.dtype} {y.shape}.")
    return y.astype(np.int64)


def _from_tables(edges: Path, nodes: Path, chosen: dict[str, Any]) -> GraphSource:
    header, rows = _table(nodes, header=True)
    lower = [column.strip().lower() for column in header]
    picked = {
        what: next((i for i, column in enumerate(lower) if column in names), None)
        for what, names in (("id", ID), ("label", LABEL), ("split", SPLIT))
    }
    ids = [str(i) for i in range(len(rows))]
    if picked["id"] is not None:
        ids = [row[picked["id"]].strip() for row in rows]
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise DataError(f"graph: {nodes} has more than one row for the node '{twice}'.")
    features = [i for i in range(len(header)) if i not in picked.values()]
    x = np.array(
        [[_number(row[i], nodes, header[i], k) for i in features] for k, row in enumerate(rows)],
        np.float32,
    )
    position = {node: i for i, node in enumerate(ids)}
    _, pairs = _table(edges, header=False)
    if pairs and {cell.strip().lower() for cell in pairs[0][:2]} <= ENDS - set(position):
        pairs = pairs[1:]
    ends = [[_end(cell, position, edges, k) for cell in pair[:2]] for k, pair in enumerate(pairs)]
    labels = class_names = None
    if picked["label"] is not None:
        words = [row[picked["label"]].strip() for row in rows]
        class_names = sorted({word for word in words if word})
        labels = np.array([class_names.index(w) if w else -1 for w in words], np.int64)
    masks: dict[str, Any] = {}
    if picked["split"] is not None:
        side = np.array([row[picked["split"]].strip().lower() for row in rows])
        masks = {name: side == name for name in SIDES if (side == name).any()}
    return GraphSource(
        f"graph:{edges.name}",
        x,
        np.array(ends, np.int64).reshape(-1, 2).T,
        labels,
        class_names=class_names,
        **masks,
        **chosen,
    )


def _table(path: Path, *, header: bool) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"graph: {path} cannot be read ({error}).") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise DataError(f"graph: {path} is empty.")
    mark = next((m for m in (",", "\t", ";") if m in lines[0]), None)
    rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
    for k, row in enumerate(rows):
        if len(row) != len(rows[0]) or len(row) < (1 if header else 2):
            raise DataError(f"graph: row {k + 1} of {path} has {len(row)} columns: {row}.")
    return (rows[0], rows[1:]) if header else ([], rows)


def _number(cell: str, path: Path, column: str, row: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DataError(
            f"graph: {path}, row {row + 2}, column '{column}': '{cell}' is not a number. Features "
            f"must be numbers; other columns are called {', '.join((*ID, *LABEL, *SPLIT))}."
        ) from None


def _end(cell: str, position: dict[str, int], path: Path, row: int) -> int:
    node = cell.strip()
    if node not in position:
        raise DataError(
            f"graph: edge {row + 1} of {path} names the node '{node}', which has no row."
        )
    return position[node]
