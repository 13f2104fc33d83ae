"""`tacit doctor`: what is well, what is not, and what to do."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tacit.cli import app
from tacit.doctor import EXTRAS, _disk, _guarded, _views, examine


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TACIT_CACHE", str(tmp_path / "cache"))


def test_everything_is_looked_at():
    found = {finding.name: finding for finding in examine("digits")}
    expected = {
        "python",
        "torch",
        "hardware",
        "precision",
        "views",
        "memory",
        "disk",
        "cache",
        "extras",
        "data",
    }
    assert expected <= set(found)
    assert found["data"].state == "ok"
    assert "1797 samples" in found["data"].text


def test_data_that_cannot_be_opened_is_a_problem_and_exit_code_1(tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["doctor", f"images:{tmp_path / 'empty'}"])
    assert done.exit_code == 1
    assert "problem" in done.stdout
    assert "Did you mean 'digits'" in " ".join(
        CliRunner().invoke(app, ["doctor", "digit"]).stdout.split()
    )


def test_a_full_or_closed_disk_is_a_problem(tmp_path, monkeypatch):
    from tacit import doctor

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("U", (), {"free": 10})())
    assert _disk().state == "problem"

    def closed(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", closed)
    finding = _guarded("disk", _disk)
    assert finding.state == "problem"
    assert "Permission denied" in finding.text


def test_numba_that_is_there_or_is_not_or_does_not_work(monkeypatch):
    pytest.importorskip("numba")
    assert re.search(r"compiled by numba \d", _views().text)
    monkeypatch.setitem(sys.modules, "numba", None)  # its import is an ImportError
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    finding = _views()
    assert finding.state == "note"
    assert "numba cannot be used" in finding.text
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _views().state == "ok"
    assert "torch alone" in _views().text


def test_the_extras_are_those_that_can_be_installed():
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == extras.keys() - {"dev", "docs", "bench"}  # of developers
    other = {"faiss": "faiss-cpu"}
    for extra, modules in EXTRAS.items():
        wanted = {re.split(r"[\[>=;]", line)[0] for line in extras[extra]}
        assert {other.get(m, m.replace("_", "-")) for m in modules} == wanted, extra


def test_a_healthy_machine_exits_with_0(monkeypatch):
    from tacit import doctor

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("U", (), {"free": 2**40})())
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.stdout
