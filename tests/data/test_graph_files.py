"""Graphs from files: Planetoid, TU, archives, tables, molecules."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from tacit.data import open_source
from tacit.data.graph import GraphSetSource, GraphSource
from tacit.data.molecules import molecule_source
from tacit.data.planetoid import read_planetoid
from tacit.data.tu import read_tu
from tacit.errors import DataError, MissingExtraError


@pytest.fixture
def planetoid(test_data: Path) -> Path:
    folder = test_data / "planetoid"
    if not folder.is_dir():
        pytest.skip(f"no Planetoid files at {folder}")
    return folder


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "width", "train", "bare"),
    [("cora", 2708, 10556, 1433, 140, 0), ("citeseer", 3327, 9104, 3703, 120, 15)],
)
def test_planetoid_is_as_published(
    planetoid: Path, name: str, nodes: int, edges: int, width: int, train: int, bare: int
) -> None:
    source = open_source(f"planetoid:{name}@{planetoid}")
    assert isinstance(source, GraphSource)
    assert source.x.shape == (nodes, width)
    assert source.edges.shape == (2, edges)
    sums = np.asarray(source.x.sum(1)).ravel()
    np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-5)
    assert (sums == 0).sum() == bare
    rows = (source.train_rows, source.val_rows, source.test_rows)
    assert [len(part) for part in rows] == [train, 500, 1000]
    assert source.labels is not None
    assert np.bincount(source.labels[source.train_rows]).tolist() == [20] * (train // 20)
    assert len(open_source(f"planetoid:{name}@{planetoid}", split="test")) == 1000


def tiny_planetoid(folder: Path, **changes: object) -> Path:
    """Six known nodes, test nodes 6 and 8: node 7 is in the graph alone."""
    x = sparse.csr_matrix(np.eye(6, 4, dtype=np.float32) + 1)
    graph = defaultdict(list, {i: [(i + 1) % 9] for i in range(9)})
    parts = {
        **{"x": x[:2], "allx": x, "tx": x[:2], "graph": graph},
        **{"y": np.eye(2), "ally": np.tile(np.eye(2), (3, 1)), "ty": np.eye(2), **changes},
    }
    for part, value in parts.items():
        (folder / f"ind.cora.{part}").write_bytes(pickle.dumps(value))
    (folder / "ind.cora.test.index").write_text("8\n6\n")
    return folder


def test_missing_test_nodes_have_neither_words_nor_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.data.planetoid.VALIDATION", 2)
    source = read_planetoid(tiny_planetoid(tmp_path), "cora")
    assert len(source) == 9
    x = source.x.toarray() if sparse.issparse(source.x) else source.x
    assert not x[7].any()
    assert source.labels is not None
    assert source.labels[[6, 7, 8]].tolist() == [1, -1, 0]  # the order of the index file
    np.testing.assert_allclose(x[8], [0.4, 0.2, 0.2, 0.2])


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 + 1",)


def test_planetoid_loads_no_other_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"builtins\.eval, which is refused"):
        read_planetoid(tiny_planetoid(tmp_path, ally=Harmful()), "cora")


def test_planetoid_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*ind\.cora\.x"):
        open_source(f"planetoid:cora@{tmp_path}")
    with pytest.raises(DataError, match="Did you mean 'cora'"):
        open_source("planetoid:corra")
    tiny_planetoid(tmp_path, ally=np.eye(2))
    with pytest.raises(DataError, match="do not fit together"):
        read_planetoid(tmp_path, "cora")
    (tmp_path / "ind.cora.y").write_bytes(b"not a pickle")
    with pytest.raises(DataError, match=r"ind\.cora\.y cannot be used"):
        read_planetoid(tmp_path, "cora")


def test_a_set_that_cannot_be_downloaded_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torch_geometric.datasets")

    def offline(*args: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "Planetoid", offline)
    monkeypatch.setattr(datasets, "TUDataset", offline)
    with pytest.raises(DataError, match=r"no network.*planetoid:cora@DIR"):
        open_source("planetoid:cora")
    with pytest.raises(DataError, match=r"no network.*tu:MUTAG@DIR"):
        open_source("tu:MUTAG")


def write_tu(folder: Path, *, node_labels: bool = True) -> Path:
    (folder / "T_A.txt").write_text("1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n")
    (folder / "T_graph_indicator.txt").write_text("1\n1\n2\n2\n2\n")
    (folder / "T_graph_labels.txt").write_text("-1\n1\n")
    if node_labels:
        (folder / "T_node_labels.txt").write_text("3\n5\n5\n3\n3\n")
    return folder


def test_tu_labels_or_degrees_are_the_features(tmp_path: Path) -> None:
    source = read_tu(write_tu(tmp_path), "T")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1]
    assert source.class_names == ["-1", "1"]
    assert source.x.argmax(1).tolist() == [0, 1, 1, 0, 0]
    assert len(source.batch([1])) == 1
    (tmp_path / "T_node_labels.txt").unlink()
    assert read_tu(tmp_path, "T").x.argmax(1).tolist() == [1, 1, 1, 2, 1]
    assert isinstance(open_source(f"tu:T@{tmp_path}"), GraphSetSource)


def test_tu_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_tu(tmp_path, "T")
    write_tu(tmp_path)
    (tmp_path / "T_A.txt").write_text("1, 2\n2, 9\n")
    with pytest.raises(DataError, match=r"joins \(1, 8\)"):
        read_tu(tmp_path, "T")
    (tmp_path / "T_graph_indicator.txt").write_text("1\n2\n1\n2\n2\n")
    with pytest.raises(DataError, match="in order"):
        read_tu(tmp_path, "T")


def test_archives_of_a_graph_and_of_graphs(tmp_path: Path) -> None:
    one, several = tmp_path / "one.npz", tmp_path / "several.npz"
    x, edges = np.eye(4, dtype=np.float32), np.array([[0, 1, 2], [1, 0, 3]])
    np.savez(one, x=x, edge_index=edges, y=np.arange(4), train_mask=np.arange(4) < 2)
    source = open_source(f"graph:{one}")
    assert isinstance(source, GraphSource)
    assert source.edges.shape == (2, 4)
    assert len(source.split("train")) == 2
    directed = open_source(f"graph:{one}?directed=1&fanouts=2,1")
    assert directed.edges.shape == (2, 3)  # type: ignore[attr-defined]
    assert directed.fanouts == (2, 1)  # type: ignore[attr-defined]
    np.savez(several, x=x, edge_index=edges, sizes=[2, 2], y=[0, 1])
    assert isinstance(open_source(f"graph:{several}"), GraphSetSource)
    csr = sparse.csr_matrix(np.eye(4, 200, dtype=np.float32))
    parts = {"x_data": csr.data, "x_indices": csr.indices, "x_indptr": csr.indptr}
    np.savez(one, **parts, x_shape=csr.shape, edge_index=edges)
    assert open_source(f"graph:{one}").batch([0]).x.layout == torch.sparse_csr


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.eye(2)}, "'edge_index' is missing"),
        ({"x": np.eye(2), "edge_index": np.zeros((2, 0)), "lables": 1}, "no use for .*lables"),
        ({"x": np.eye(2), "edge_index": np.zeros((2, 0)), "y": np.ones(2)}, "y must be"),
        ({"x": np.eye(2), "edge_index": np.array([[0], [2]])}, r"joins \(0, 2\)"),
        ({"x": np.array([{}]), "edge_index": np.zeros((2, 0))}, "objects are refused"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path: Path, arrays, message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_source(f"graph:{tmp_path / 'bad.npz'}")


def test_tables_of_nodes_and_edges(tmp_path: Path) -> None:
    nodes, edges = tmp_path / "nodes.csv", tmp_path / "edges.csv"
    nodes.write_text(
        "id,width,label,height,split\nann,1,cat,2,train\nbob,3,dog,4,test\ncid,5,,6,\n"
    )
    edges.write_text("source,target\nann,bob\nbob,cid\n")
    source = open_source(f"graph:{edges}@{nodes}")
    assert isinstance(source, GraphSource)
    assert source.x.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert source.class_names == ["cat", "dog"]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, -1]
    assert source.train_rows.tolist() == [0]  # type: ignore[union-attr]
    assert source.val_rows is None
    assert source.edges.shape == (2, 4)
    edges.write_text("0 1\n1 2\n")
    nodes.write_text("width height\n1 2\n3 4\n5 6\n")
    assert open_source(f"graph:{edges}@{nodes}").edges.shape == (2, 4)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"edges need a table of nodes: graph:.*@NODES.csv"):
        open_source(f"graph:{edges}")


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ("id,w\na,1\na,2\n", "a,a\n", "more than one row for the node 'a'"),
        ("id,w\na,1\nb,x\n", "a,b\n", "row 3, column 'w': 'x' is not a number"),
        ("id,w\na,1\nb,2\n", "a,b\na,z\n", "edge 2 .* names the node 'z'"),
        ("id,w\na,1\nb,2\n", "q,z\n", "names the node 'q'"),
        ("id,w\na,1\nb\n", "a,b\n", "row 3 .* has 1 columns"),
        ("id,w\na,1\n", "", "is empty"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, nodes: str, edges: str, message: str) -> None:
    (tmp_path / "n.csv").write_text(nodes)
    (tmp_path / "e.csv").write_text(edges)
    with pytest.raises(DataError, match=message):
        open_source(f"graph:{tmp_path / 'e.csv'}@{tmp_path / 'n.csv'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("graph", "needs a file"),
        ("graph:none.npz", "does not exist"),
        ("graph:none.npz?fanout=3", "Did you mean 'fanouts'"),
        ("graph:none.npz?fanouts=a", "write numbers"),
        ("tu", "needs the name"),
        ("molecules", "needs a table"),
    ],
)
def test_specs_that_cannot_be_opened(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(spec)


def test_molecules_need_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rdkit", None)
    with pytest.raises(MissingExtraError, match="rdkit"):
        open_source("molecules:drugs.csv")


def test_molecules_become_types_and_bonds() -> None:
    carbon_oxygen = SimpleNamespace(
        x=torch.tensor([[6, 2, 4], [8, 5, 1]]),
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        edge_attr=torch.tensor([[2, 0, 0], [2, 0, 0]]),
    )
    alone = SimpleNamespace(
        x=torch.tensor([[0, 0, 0]]), edge_index=torch.empty(2, 0), edge_attr=torch.empty(0, 3)
    )
    targets = np.array([[1.0], [np.nan]], np.float32)
    source = molecule_source("toy", [carbon_oxygen, alone], targets, ["ring", ""])
    batch = source.batch([0, 1])
    assert batch.x.tolist() == [[5, 2], [7, 0], [118, 0]]
    assert batch.edge_attr is not None
    assert batch.edge_attr.tolist() == [[1, 0], [1, 0]]
    assert source.labels is not None
    assert source.labels.tolist() == [1, -1]
    assert source.groups is not None
    with pytest.raises(DataError, match="no molecules"):
        molecule_source("toy", [])


def test_smiles_become_molecules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("torch_geometric")
    table = tmp_path / "drugs.csv"
    table.write_text(
        "name,smiles,active\na,c1ccccc1O,1\nb,C[C@H](N)C(=O)O,0\nc,nonsense,1\nd,C#N,\n"
    )
    source = open_source(f"molecules:{table}")
    assert "1 of 4 could not be read: 'row 4': 'nonsense' is not a molecule" in caplog.text
    assert source.skipped == [("row 4", "'nonsense' is not a molecule")]
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, -1]
    phenol = source.batch([0])
    assert phenol.x[:, 0].tolist() == [5, 5, 5, 5, 5, 5, 7]
    assert (phenol.edge_attr[:, 0] == 3).sum() == 12  # six aromatic bonds, both ways
    cyanide = source.batch([2])
    assert cyanide.edge_attr[:, 0].tolist() == [2, 2]
    assert source.groups is not None
    assert len(set(source.groups.tolist())) == 2  # benzene's scaffold, and none
    with pytest.raises(DataError, match="not a molecule"):
        open_source(f"molecules:{table}", strict=True)
