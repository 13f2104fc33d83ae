"""Truncated and flipped files of a run folder: named in a message, and nothing is lost."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tacit
from tacit.compare import list_runs
from tacit.errors import TacitError
from tacit.run import Run
from tacit.training.checkpoint import PREVIOUS, find_checkpoint

SEEDS = 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tacit.pretrain(
        "simclr", "digits", out=tmp_path_factory.mktemp("damage") / "run", steps=6, batch_size=16,
        image_size=16, progress=False, checkpoint_every=0.001, monitor={"samples": 32},
        monitor_every=3,
    )  # fmt: skip
    run.evaluate("knn", baselines=False, train_samples=200, test_samples=100)
    return run.path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Callable[[str, bytes | None], Path]:
    """copy(name, content) -> a copy of the run in which that file has that content."""

    def make(name: str, content: bytes | None = None) -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "copy")
        if content is not None:
            (tmp_path / "copy" / name).write_bytes(content)
        return tmp_path / "copy"

    return make


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut at a random place, or 1 to 4 random bits flipped."""
    if draw.random() < 0.4:
        return data[: draw.randrange(len(data))]
    content = bytearray(data)
    for place in draw.sample(range(len(data)), draw.randint(1, 4)):
        content[place] ^= 1 << draw.randrange(8)
    return bytes(content)


def test_a_checkpoint_damaged_anywhere_is_refused(whole: Path, tmp_path: Path, caplog) -> None:
    for file in (whole / "checkpoints").iterdir():
        shutil.copy(file, tmp_path)
    last = tmp_path / "last.ckpt"
    data = last.read_bytes()
    for seed in range(SEEDS):
        last.write_bytes(damaged(data, random.Random(seed)))
        caplog.clear()
        assert find_checkpoint(last) == tmp_path / PREVIOUS, seed
        assert "damaged" in caplog.text
    last.write_bytes(data)
    assert find_checkpoint(last) == last


@pytest.mark.parametrize(
    "content", ["[]", "5", '{"last.ckpt": 5}', '{"last.ckpt": [1]}', "\xff", ""]
)
def test_damaged_checksums_are_damage(content: str, copy) -> None:
    run = copy("checkpoints/checksums.json", content.encode("latin1"))
    with pytest.raises(TacitError, match=r"last\.ckpt.* damaged"):
        find_checkpoint(run / "checkpoints" / "last.ckpt")


USES: dict[str, Callable[[Run], object]] = {
    "recipe.yaml": lambda run: run.recipe,
    "encoder.json": lambda run: run.encoder,
    "encoder.safetensors": lambda run: run.encoder,
}


@pytest.mark.parametrize("name", USES)
def test_recipe_and_encoder_damaged_anywhere_are_named(name: str, whole: Path, copy) -> None:
    data = (whole / name).read_bytes()
    run = copy(name)
    for seed in range(SEEDS):
        content = damaged(data, random.Random(seed))
        (run / name).write_bytes(content)
        if json_equal(name, content, data):  # white space at the end says nothing
            continue
        with pytest.raises(TacitError, match=name.replace(".", r"\.")):
            USES[name](tacit.load(run))
    (run / name).write_bytes(data)
    USES[name](tacit.load(run))


def error_of(use: Callable[[Run], object], run: Run) -> str | None:
    """The message of a TacitError; any other error is a failure."""
    try:
        use(run)
    except TacitError as error:
        return str(error)
    return None


def json_equal(name: str, one: bytes, other: bytes) -> bool:
    try:
        return name.endswith(".json") and json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["status.json", "evaluation.json", "metrics.csv"])
def test_other_files_are_read_or_named(name: str, whole: Path, copy, caplog) -> None:
    """They have no checksum: a digit that became another is not seen, anything else is told."""
    data = (whole / name).read_bytes()
    run = copy(name)
    named = 0
    for seed in range(SEEDS):
        (run / name).write_bytes(damaged(data, random.Random(seed)))
        opened = tacit.load(run)
        for use in (lambda o: o.status, lambda o: o.evaluation, lambda o: o.metrics):
            found = error_of(use, opened)
            assert found is None or name in found
            named += found is not None
        rows = list_runs(run.parent)  # one that cannot be read is left out with a note
        assert rows or name in caplog.text
    assert named > 3


WORDS = [b"[]", b"null", b"5", b'"x"', b"[" * 100_000, b"\xff\xfe\0", b"", b"{}", b'{"state": 5}']
WORDS += [b'{"step": "x"}', b'{"seconds": [1]}', b'{"skipped": 3}', b'{"rows": [1]}']
WORDS += [b'{"rows": {"encoder": {"knn": "high"}}}', b'{"name": 1, "options": [1]}']


@pytest.mark.parametrize("name", ["status.json", "evaluation.json", "encoder.json", "recipe.yaml"])
def test_files_of_another_shape(name: str, copy) -> None:
    run = copy(name)
    for word in WORDS:
        (run / name).write_bytes(word)
        for use in (lambda o: o.status, lambda o: o.evaluation, lambda o: o.encoder):
            found = error_of(lambda o, use=use: use(tacit.load(o)), run)  # type: ignore[arg-type]
            assert found is None or name in found
        [row.cells() for row in list_runs(run.parent)]


@pytest.mark.parametrize("name", ["recipe.yaml", "status.json", "metrics.csv", "encoder.json"])
def test_resuming_and_reporting_say_which_file(name: str, whole: Path, copy, command) -> None:
    run = copy(name, (whole / name).read_bytes()[:-30] + b"\xff\xfe")
    verbs = {
        "encoder.json": ["embed", run, "digits", "-o", run / "v.npy"],
        "status.json": ["pretrain", "--resume", run],
    }
    done = command(*verbs.get(name, ["report", run]))
    assert done.code == 2, done.text
    assert name in done.text
    assert "Traceback" not in done.text


def test_a_run_resumes_without_its_status_and_its_curves(whole: Path, copy, command) -> None:
    """What the messages advise works."""
    run = copy("status.json")
    (run / "status.json").unlink()
    (run / "metrics.csv").unlink()
    done = command("pretrain", "--resume", run, "--no-report")
    assert done.code == 0, done.text
    first, second = (tacit.load(path).encoder.state_dict() for path in (whole, run))
    assert all(np.array_equal(first[key], second[key]) for key in first)
