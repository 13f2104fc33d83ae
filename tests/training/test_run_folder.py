"""What the run folder says of where it was trained."""

import json

import pytest

from tacit.errors import TacitError
from tacit.training.folder import RunFolder

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("head", "commit"),
    [
        (COMMIT, COMMIT),
        ("ref: refs/heads/main", COMMIT),
        ("ref: refs/heads/absent", None),
        ("ref: ../secret", None),
        ("a text of the user", None),
        ("\xff", None),
    ],
)
def test_the_commit_is_a_commit_and_nothing_else(head, commit, tmp_path, monkeypatch):
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    (tmp_path / "secret").write_text("password\n")
    (tmp_path / ".git" / "HEAD").write_text(head + "\n", encoding="latin-1")
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    RunFolder(inner).write_environment(0)
    assert json.loads((inner / "environment.json").read_text())["commit"] == commit


@pytest.mark.parametrize("skipped", [3, [1, 2], [["a"]], [["a", 1]], {"a": "b"}, ["ab"]])
def test_what_was_skipped_is_names_and_reasons(skipped, tmp_path):
    folder = RunFolder(tmp_path)
    folder.set_status("finished", skipped=[["a.png", "empty file"]])
    assert folder.status()["skipped"] == [["a.png", "empty file"]]
    folder.set_status("finished", skipped=skipped)
    with pytest.raises(TacitError, match=r"damaged .skipped = "):
        folder.status()


def test_two_runs_on_one_folder(tmp_path):
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    first.lock()
    assert second.is_locked()
    with pytest.raises(TacitError, match="Another process is training in"):
        second.lock()
    assert not second.locked
    first.unlock()
    second.lock()
    second.unlock()
    assert not first.is_locked()
