"""SIGKILL at seeded random points of training, embedding and decoding: nothing is lost.

A point is a moment at which a file is opened, renamed or removed, so that it is the same on every
machine. Run as a script, this file does the work: it imports once and forks a child for every
attempt.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

POINTS = 12
TIMES = {"seconds", "samples_per_second"}
FILES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}  # audit events


def forked(work: Callable[[], object], folder: Path, point: int | None = None) -> int:
    """Run `work` in a child; how often it touched files below a folder.

    With a point, it is killed when it touches one for that time. Any other end is an error.
    """
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        touched, below = [0], str(folder)

        def touch(event: str, arguments: tuple[object, ...]) -> None:
            # What TensorBoard writes, it writes when it likes.
            if event in FILES and below in str(arguments[0]) and "tfevents" not in str(arguments):
                if touched[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                touched[0] += 1

        sys.addaudithook(touch)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os.write(ends[1], str(touched[0]).encode())
        os._exit(0)
    os.close(ends[1])
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (0 if point is None else -signal.SIGKILL), code
    with os.fdopen(ends[0]) as said:
        return int(said.read() or 0)


def killed_and_again(
    work: Callable[[Path], object], again: Callable[[Path], object], folder: Path, name: str
) -> int:
    """Do `work` once whole, then killed at random points and done `again`."""
    count = forked(lambda: work(folder / name.format("whole")), folder)
    # Less than all: where a clock decides what is written, a run may write somewhat less.
    points = random.Random(0).sample(range(count * 9 // 10), POINTS)
    for i, point in enumerate(points):
        part = folder / name.format(f"part{i}")
        forked(lambda part=part: work(part), folder, point)
        forked(lambda part=part: again(part), folder)
    return count


def training(folder: Path) -> int:
    import tacit

    def train(out: Path) -> object:
        return tacit.pretrain(
            "byol", "digits", out=out, steps=8, batch_size=16, image_size=16, progress=False,
            checkpoint_every=1e-9, monitor_every=4, monitor={"samples": 32}, encoder="small",
            encoder_options={"widths": [8, 16]}, proj_hidden_dim=32, pred_hidden_dim=32,
        )  # fmt: skip

    def again(out: Path) -> object:
        begun = (out / "recipe.yaml").is_file()
        return tacit.load(out).resume(progress=False) if begun else train(out)

    return killed_and_again(train, again, folder, "{}")


def embedding(folder: Path) -> int:
    import tacit
    from tacit import embed_file

    run = folder / "run"
    forked(
        lambda: tacit.pretrain(
            "simclr", "digits", out=run, steps=2, batch_size=16, image_size=16, progress=False
        ),
        folder,
    )
    embed_file.SHARD = 64  # many shards, so that a kill falls between two of them

    def embed(out: Path) -> object:
        return embed_file.embed_to_file(tacit.load(run), "digits", out, progress=False)

    return killed_and_again(embed, embed, folder, "{}.npy")


def decoding(folder: Path) -> int:
    from PIL import Image

    from tacit.data import open_source

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(100):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")

    def decode(out: Path) -> None:
        source = open_source(
            f"images:{folder / 'images'}", cache_dir=out, progress=False, image_size=32
        )
        np.save(out / "pixels.npy", source.batch(range(100)).numpy())

    return killed_and_again(decode, decode, folder, "{}")


def work(kind: str, folder: Path) -> int:
    """Run one of the three in its own process."""
    done = subprocess.run(
        [sys.executable, __file__, kind, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,  # seconds, for what hangs
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

    assert work("training", tmp_path) > 5 * POINTS
    whole = read_metrics(tmp_path / "whole" / "metrics.csv")
    weights = load_file(tmp_path / "whole" / "encoder.safetensors")
    parts = sorted(tmp_path.glob("part*"))
    assert len(parts) == POINTS
    for part in parts:
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
    assert work("embedding", tmp_path) > 5 * POINTS
    whole = np.load(tmp_path / "whole.npy")
    parts = sorted(tmp_path.glob("part*.npy"))
    assert len(parts) == POINTS
    assert all(np.array_equal(np.load(part), whole) for part in parts)
    assert not list(tmp_path.glob("*.partial"))


def test_the_cache_is_whole_or_made_again(tmp_path: Path) -> None:
    assert work("decoding", tmp_path) > 5 * POINTS
    whole = np.load(tmp_path / "whole" / "pixels.npy")
    for i in range(POINTS):
        assert np.array_equal(np.load(tmp_path / f"part{i}" / "pixels.npy"), whole)


if __name__ == "__main__":
    import tacit
    import tacit.training.fit  # imported before the forks, so that a child starts at once

    tacit.pretrain  # noqa: B018 - loads the lazy module
    kind, where = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    kinds = {"training": training, "embedding": embedding, "decoding": decoding}
    print(json.dumps(kinds[kind](where)))
