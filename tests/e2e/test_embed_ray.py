"""`tacit embed --engine ray` on a local Ray with two workers: equal, and nothing lost by a kill."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import tacit
from tacit.embed_file import embed_to_file

psutil = pytest.importorskip("psutil")
pytest.importorskip("ray")
pytestmark = pytest.mark.slow

RAY = ["--engine", "ray", "--workers", "2"]
N, PARTS = 960, 20
SIZES = {"batch_size": 16, "shard": 48, "progress": False}
OPTIONS = ["--batch-size", "16", "--shard", "48"]
WAIT = 1200  # seconds, for what hangs

# The command, in which a worker kills itself at its first look at samples 480.. or the command
# itself before it writes its sixth part: at that moment, however fast the machine.
KILLED = """
import contextlib, json, os, signal, psutil
from pathlib import Path
from tacit import embed_file, embed_ray
from tacit.cli import main

class Mortal(embed_ray.Worker):
    def _embed(self, start, stop, attempt):
        if start == 480 and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._embed(start, stop, attempt)

def processes():
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield process.pid, process.create_time()

def write(path, rows, real=embed_file._write_shard, parts=[]):
    if not parts:
        Path("processes.json").write_text(json.dumps(list(processes())))
    if "WHO" == "command" and len(parts) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    parts.append(path)
    real(path, rows)

embed_file._write_shard = write
if "WHO" == "worker":
    embed_ray.Worker = Mortal
main()
"""


def embed(*arguments, cwd, killed=None, code=0):
    """What the command says; `killed` is "worker" or "command"."""
    program = ["-c", KILLED.replace("WHO", killed)] if killed else ["-m", "tacit"]
    # Into files: what outlives a killed command for a while would keep a pipe open.
    with open(cwd / "stdout", "w+") as stdout, open(cwd / "stderr", "w+") as stderr:
        done = subprocess.run(
            [sys.executable, *program, "embed", *arguments],
            cwd=cwd,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=stdout,
            stderr=stderr,
            timeout=WAIT,
        )
    stdout, stderr = ((cwd / name).read_text() for name in ("stdout", "stderr"))
    assert done.returncode == code, stderr[-3000:]
    return stdout, stderr


def clean(stderr):
    """Whether there is nothing but tacit's own progress bar, and its word on a dead worker."""
    lines = [line for line in stderr.splitlines() if line and not line.startswith("embedding")]
    return all(line.endswith("begun anew: a worker died.") for line in lines)


def gone(folder):
    """Ray's processes end when their command has, however that ended."""
    known = json.loads((folder / "processes.json").read_text())
    assert len(known) > 2
    there = []
    for pid, created in known:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created:
                there.append(process)
    _, alive = psutil.wait_procs(there, timeout=WAIT)
    alive = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    for process in alive:
        process.kill()
    return alive == []


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on digits, images with labels in a table of arrays, and their embeddings."""
    folder = tmp_path_factory.mktemp("ray")
    run = tacit.pretrain(
        "simclr", "digits", out=folder / "run", steps=2, batch_size=16, progress=False
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (N, 32, 32), dtype=np.uint8)
    np.savez(folder / "x.npz", images=pixels, labels=rng.integers(0, 5, N))
    embed_to_file(run, f"npz:{folder / 'x.npz'}", folder / "local.parquet", **SIZES)
    return folder, ["run", "npz:x.npz", *OPTIONS]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A run on time series and their embeddings."""
    folder = tmp_path_factory.mktemp("ray")
    values = np.random.default_rng(0).normal(size=(N, 2, 256)).astype(np.float32)
    np.savez(folder / "x.npz", series=values)
    data = f"npz:{folder / 'x.npz'}#series=series"
    run = tacit.pretrain("simclr", data, out=folder / "run", steps=2, batch_size=16, progress=False)
    embed_to_file(run, data, folder / "local.npy", **SIZES)
    return folder, ["run", "npz:x.npz#series=series", *OPTIONS]


def test_a_killed_worker_loses_nothing_and_repeats_nothing(images):
    import pyarrow.parquet as pq

    folder, arguments = images
    out = folder / "ray.parquet"
    stdout, stderr = embed(*arguments, "-o", out.name, *RAY, cwd=folder, killed="worker")
    assert stdout == "ray.parquet\n"
    assert "shards were begun anew" in stderr
    assert clean(stderr)
    table, local = pq.read_table(out), pq.read_table(folder / "local.parquet")
    assert table["index"].to_pylist() == list(range(N))
    assert table.equals(local)
    assert out.read_bytes() == (folder / "local.parquet").read_bytes()
    assert not list(folder.glob("*.partial"))
    assert gone(folder)


def test_a_killed_command_continues_where_it_was(series):
    folder, arguments = series
    out = folder / "ray.npy"
    command = [*arguments, "-o", out.name, *RAY]
    embed(*command, cwd=folder, killed="command", code=-signal.SIGKILL)
    assert len(list(folder.glob("ray.npy.partial/0*.npy"))) == 5
    assert not out.exists()
    stdout, stderr = embed(*command, cwd=folder)
    assert stdout == "ray.npy\n"
    assert clean(stderr)
    assert f"resumed, 5/{PARTS} done" in stderr
    assert np.array_equal(np.load(out), np.load(folder / "local.npy"))
    assert gone(folder)
