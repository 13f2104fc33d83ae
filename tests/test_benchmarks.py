"""Every suite runs at its smallest and gives what the page needs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    pytest.importorskip("benchmarks", reason="the folder of benchmarks is not shipped with tacit")
    return importlib.import_module("benchmarks.__main__")


def results(bench: Any, folder: Path, *arguments: str) -> dict[str, Any]:
    assert bench.main([*arguments, "--quick", "--out", str(folder)]) == 0
    return json.loads((folder / "benchmarks.json").read_text())


@pytest.mark.parametrize(
    ("suite", "path", "target"),
    [
        ("views", ("sides", "32", "PIL", "ratio"), "views, 32 px"),
        ("step", ("cases", "small 32", "shares", "views"), "step, small 32"),
        ("decode", ("ways", "tacit, warm", "ratio"), None),
        ("startup", ("seconds", "tacit --help"), "tacit --help"),
        ("series", ("cases", "20 | 16", "scan"), None),
    ],
)
def test_a_suite_prints_a_table_and_keeps_its_numbers(  # type: ignore[no-untyped-def]
    bench, tmp_path: Path, suite: str, path: tuple[str, ...], target: str | None
) -> None:
    entry = results(bench, tmp_path, suite)[suite]
    value = entry["result"]
    for key in path:
        value = value[key]
    assert value > 0
    assert entry["markdown"].startswith("| ")
    assert entry["command"] == f"python -m benchmarks {suite} --quick"
    assert entry["machine"]["packages"]["torch"] == torch.__version__
    page = (tmp_path / "benchmarks.md").read_text()
    assert entry["markdown"] in page
    if target is not None:
        assert target in {one["name"] for one in entry["result"]["targets"]}
        assert f"| {target} |" in page


def test_neighbours_agree_with_every_library() -> None:
    from benchmarks.knn import rows, searches

    bank, queries = rows(300, 16, 1), rows(20, 16, 2)
    found = {name: work() for name, work in searches(bank, queries, 7).items()}
    ours = found["tacit"].indices  # type: ignore[attr-defined]
    theirs = torch.from_numpy(found["scikit-learn"][1])  # type: ignore[index]
    assert torch.equal(ours, theirs)
    if "faiss" in found:
        assert torch.equal(ours, torch.from_numpy(found["faiss"][1]))  # type: ignore[index]


def test_results_of_other_suites_are_kept(  # type: ignore[no-untyped-def]
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = [{"name": "a target", "wanted": ">= 2", "measured": 1.0, "met": False, "why": "so"}]
    old = {"graph": {"measured": "Long ago.", "markdown": "| a |", "result": {"targets": missed}}}
    (tmp_path / "benchmarks.json").write_text(json.dumps(old))
    empty = type("Suite", (), {"main": staticmethod(lambda quick: {"targets": []})})
    monkeypatch.setattr("importlib.import_module", lambda name: empty)
    both = results(bench, tmp_path, "startup")
    assert both["graph"] == old["graph"]
    assert "- a target (1): so." in (tmp_path / "benchmarks.md").read_text()


def test_mistakes_are_explained(bench, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for arguments, message in ((["nil"], "unknown suite nil"), (["graph"], "needs --data")):
        with pytest.raises(SystemExit):
            bench.main(arguments)
        assert message in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert bench.main(["views", "--device", "cuda"]) == 2
        assert "no CUDA device" in capsys.readouterr().out
