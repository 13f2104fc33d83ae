"""`tacit embed --engine ray` on a local Ray with two workers: equal, and nothing lost by a kill."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tacit
from tacit.embed_file import embed_to_file

psutil = pytest.importorskip("psutil")
pytest.importorskip("ray")
pytestmark = pytest.mark.slow

RAY = ["--engine", "ray", "--workers", "2"]
N, PARTS = 12_000, 250
SIZES = {"batch_size": 16, "shard": 48, "progress": False}
OPTIONS = ["--batch-size", "16", "--shard", "48"]
WAIT = 400  # seconds, on a machine that does much else


def command(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "tacit", "embed", *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    stdout, stderr = process.communicate(timeout=WAIT)
    assert process.returncode == 0, stderr[-3000:]
    return stdout, stderr


def clean(stderr):
    """Whether there is nothing but tacit's own progress bar, and its word on a dead worker."""
    lines = [line for line in stderr.splitlines() if line and not line.startswith("embedding")]
    return all(line.endswith("begun anew: a worker died.") for line in lines)


def midway(process, out):
    """The processes of Ray, once the first of the parts is there and before the last one is."""
    end = time.monotonic() + WAIT
    while not list(out.with_name(f"{out.name}.partial").glob("0*.npy")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert not out.exists()
    return children


def workers(processes):
    return [p for p in processes if "".join(p.cmdline()[:1]).startswith("ray::MapWorker")]


def gone(processes):
    """Ray's processes end when their command has, however that ended."""
    _, alive = psutil.wait_procs(processes, timeout=90)
    for process in alive:
        process.kill()
    return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


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
    process = command(*arguments, "-o", out.name, *RAY, cwd=folder)
    children = midway(process, out)
    pool = workers(children)
    assert len(pool) == 2
    pool[0].kill()
    assert not out.exists()
    stdout, stderr = finished(process)
    assert stdout == "ray.parquet\n"
    assert clean(stderr)
    table, local = pq.read_table(out), pq.read_table(folder / "local.parquet")
    assert table["index"].to_pylist() == list(range(N))
    assert table.equals(local)
    assert out.read_bytes() == (folder / "local.parquet").read_bytes()
    assert not list(folder.glob("*.partial"))
    assert gone(children)


def test_a_killed_command_continues_where_it_was(series):
    folder, arguments = series
    out = folder / "ray.npy"
    process = command(*arguments, "-o", out.name, *RAY, cwd=folder)
    children = midway(process, out)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    parts = list(folder.glob("ray.npy.partial/0*.npy"))
    assert 0 < len(parts) < PARTS
    assert not out.exists()

    stdout, stderr = finished(command(*arguments, "-o", out.name, *RAY, cwd=folder))
    assert stdout == "ray.npy\n"
    assert clean(stderr)
    assert f"resumed, {len(parts)}/{PARTS} done" in stderr
    assert np.array_equal(np.load(out), np.load(folder / "local.npy"))
    assert gone(children)
