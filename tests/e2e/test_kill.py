"""SIGKILL at seeded random points of training, embedding and decoding: nothing is lost.

Run as a script, this file does the work: it imports once and forks a child for every attempt.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

POINTS = 20
TIMES = {"seconds", "samples_per_second"}


def forked(
    work: Callable[[], object], after: float | None = None, begun: Path | None = None
) -> float:
    """Run `work` in a child, killed so many seconds after it began; how long it took from then.

    It begins with the fork, or, on a machine however slow, when a file is there. An error is an
    error.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    while begun is not None and not begun.is_file() and not ended(child):
        time.sleep(0.001)
    start = time.monotonic()
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.waitstatus_to_exitcode(status) == 0, status
    return time.monotonic() - start


def ended(child: int) -> bool:
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def training(folder: Path, seed: int) -> dict[str, object]:
    import tacit

    def train(out: Path) -> object:
        return tacit.pretrain(
            "byol", "digits", out=out, steps=24, batch_size=16, image_size=16, progress=False,
            checkpoint_every=0.01, monitor_every=6, monitor={"samples": 32},
        )  # fmt: skip

    length = forked(lambda: train(folder / "whole"), begun=folder / "whole" / "recipe.yaml")
    points, opened = random.Random(seed), 0
    for i in range(POINTS):
        part = folder / f"part{i}"
        begun = part / "recipe.yaml" if i % 4 else None  # a quarter may be killed before
        forked(lambda part=part: train(part), after=points.uniform(0.0, length), begun=begun)
        if not (part / "recipe.yaml").is_file():  # killed before the run began
            continue
        opened += 1
        if tacit.load(part).status.get("state") != "finished":
            forked(lambda part=part: tacit.load(part).resume(progress=False))
    return {"opened": opened}


def embedding(folder: Path, seed: int) -> dict[str, object]:
    import tacit
    from tacit import embed_file

    run = folder / "run"
    forked(
        lambda: tacit.pretrain(
            "simclr", "digits", out=run, steps=2, batch_size=16, image_size=16, progress=False
        )
    )
    embed_file.SHARD = 64  # many shards, so that a kill falls between two of them

    def embed(out: Path) -> object:
        return embed_file.embed_to_file(tacit.load(run), "digits", out, progress=False)

    length = forked(lambda: embed(folder / "whole.npy"))
    points = random.Random(seed)
    for i in range(POINTS // 2):
        out = folder / f"part{i}.npy"
        forked(lambda out=out: embed(out), after=points.uniform(0.02, length))
        forked(lambda out=out: embed(out))
    return {}


def decoding(folder: Path, seed: int) -> dict[str, object]:
    from PIL import Image

    from tacit.data import open_source

    rng = np.random.default_rng(seed)
    (folder / "images").mkdir()
    for i in range(300):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")

    def decode(out: Path) -> None:
        source = open_source(
            f"images:{folder / 'images'}", cache_dir=out, progress=False, image_size=32
        )
        np.save(out / "pixels.npy", source.batch(range(300)).numpy())

    length = forked(lambda: decode(folder / "whole"))
    points = random.Random(seed)
    for i in range(POINTS // 2):
        out = folder / f"part{i}"
        forked(lambda out=out: decode(out), after=points.uniform(0.02, length))
        forked(lambda out=out: decode(out))
    return {}


def work(kind: str, folder: Path) -> dict[str, object]:
    """Run one of the three in its own process."""
    done = subprocess.run(
        [sys.executable, __file__, kind, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
]


def test_training_equals_the_uninterrupted_run(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from tacit.training.metrics import read_metrics

    assert work("training", tmp_path)["opened"] >= POINTS // 2
    whole = read_metrics(tmp_path / "whole" / "metrics.csv")
    weights = load_file(tmp_path / "whole" / "encoder.safetensors")
    for part in sorted(tmp_path.glob("part*")):
        if not (part / "recipe.yaml").is_file():
            continue
        metrics = read_metrics(part / "metrics.csv")
        assert metrics["step"] == whole["step"], part
        for column in set(whole) - TIMES:
            assert metrics[column] == whole[column], (part, column)
        own = load_file(part / "encoder.safetensors")
        assert all(np.array_equal(own[key], weights[key]) for key in weights), part
        left = {file.name for file in part.rglob("*") if file.name.startswith(".")}
        assert left <= {".lock"}, part
        assert not list(part.rglob("*.tmp")), part


def test_embedding_loses_and_repeats_nothing(tmp_path: Path) -> None:
    work("embedding", tmp_path)
    whole = np.load(tmp_path / "whole.npy")
    parts = sorted(tmp_path.glob("part*.npy"))
    assert len(parts) == POINTS // 2
    assert all(np.array_equal(np.load(part), whole) for part in parts)
    assert not list(tmp_path.glob("*.partial"))


def test_the_cache_is_whole_or_made_again(tmp_path: Path) -> None:
    work("decoding", tmp_path)
    whole = np.load(tmp_path / "whole" / "pixels.npy")
    for i in range(POINTS // 2):
        assert np.array_equal(np.load(tmp_path / f"part{i}" / "pixels.npy"), whole)


if __name__ == "__main__":
    import tacit
    import tacit.training.fit  # imported before the forks, so that a child starts at once

    tacit.pretrain  # noqa: B018 - loads the lazy module
    kind, where = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    kinds = {"training": training, "embedding": embedding, "decoding": decoding}
    print(json.dumps(kinds[kind](where, 0)))
