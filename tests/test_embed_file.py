"""Embedding to a file: what is asked wrongly, what is resumed, and one worker of Ray by itself."""

import errno
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import tacit
from tacit import embed_file, ray_session
from tacit.embed_file import embed_to_file, make_plan
from tacit.embed_ray import ATTEMPTS, Task, Worker
from tacit.errors import ConfigError, MissingExtraError, TacitError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tacit.pretrain(
        "simclr", "digits", out=tmp_path_factory.mktemp("runs") / "run", steps=2, batch_size=16,
        image_size=16, progress=False,
    )  # fmt: skip


def images(path, n=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (n, 16, 16), dtype=np.uint8)
    np.savez(path, images=pixels)
    return f"npz:{path}"


def task_of(run, data, shard=16):
    plan = make_plan(run, run.open(data))
    return Task.of(run, data, "all", 8, plan, shard)


def embedded(worker, start, stop):
    result = worker({"start": np.array([start]), "stop": np.array([stop])})
    assert result["start"] == [start]
    return np.frombuffer(result["rows"][0], np.float32), result["error"][0]


def test_a_worker_gives_the_rows_of_its_range(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "x.npz")
    worker = Worker(task_of(run, "npz:x.npz"), threads=1, begin=lambda start: 1)
    monkeypatch.chdir("/")  # a worker starts anywhere and goes to the folder of the task
    rows, error = embedded(worker, 16, 29)
    assert error == ""
    whole = run.embed(f"npz:{tmp_path / 'x.npz'}", batch_size=8)
    assert np.array_equal(rows.reshape(13, -1), whole[16:29])


def test_a_worker_that_sees_other_data_says_so(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = task_of(run, images(tmp_path / "x.npz"))
    images(tmp_path / "x.npz", seed=1)
    _, error = embedded(Worker(task, 1, lambda start: 1), 0, 16)
    assert "finds another data than this machine" in error
    (tmp_path / "x.npz").unlink()
    _, error = embedded(Worker(task, 1, lambda start: 1), 0, 16)
    assert "x.npz" in error
    assert "file system that all of them share" in error
    _, error = embedded(Worker(replace(task, run="/nowhere"), 1, lambda start: 1), 0, 16)
    assert "not a run folder" in error
    _, error = embedded(Worker(replace(task, folder="/nowhere"), 1, lambda start: 1), 0, 16)
    assert "/nowhere" in error


def test_a_range_that_kills_its_workers_is_given_up(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = task_of(run, images(tmp_path / "x.npz"))
    rows, error = embedded(Worker(task, 1, lambda start: ATTEMPTS), 16, 32)
    assert rows.size
    assert error == ""
    rows, error = embedded(Worker(task, 1, lambda start: ATTEMPTS + 1), 16, 32)
    assert rows.size == 0
    assert "samples 16 to 31" in error
    assert "--batch-size" in error


def test_too_little_memory_is_said(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(type(run.encoder), "forward", full)
    with pytest.raises(TacitError, match=r"with 8 samples at once\. Lower --batch-size"):
        embed_to_file(run, "digits", tmp_path / "v.npy", batch_size=8, progress=False)


def test_what_is_missing_is_computed_and_nothing_else(run, tmp_path, monkeypatch):
    data, out = images(tmp_path / "x.npz"), tmp_path / "v.npy"
    whole = run.embed(data, batch_size=8)
    asked = []

    def engine(*_):
        def compute(missing):
            for part in missing[::-1]:  # any order
                asked.append(part.start)
                yield part.start, whole[part.start : part.stop]
                if len(asked) == 1:
                    raise TacitError("stopped")

        return compute

    monkeypatch.setattr(embed_file, "_local_engine", engine)
    options = {"shard": 16, "batch_size": 8, "progress": False}
    with pytest.raises(TacitError, match="stopped"):
        embed_to_file(run, data, out, **options)
    assert not out.exists()
    embed_to_file(run, data, out, **options)
    assert asked == [32, 16, 0]
    assert np.array_equal(np.load(out), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.npy", "x.npz"]


def test_a_damaged_part_is_computed_again(run, tmp_path, monkeypatch):
    data, out = images(tmp_path / "x.npz"), tmp_path / "v.npy"
    partial, options = tmp_path / "v.npy.partial", {"shard": 8, "batch_size": 8, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr(embed_file, "_write_npy", _disk_full)
        with pytest.raises(TacitError, match="No space left"):
            embed_to_file(run, data, out, **options)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.npz"]
    parts = sorted(partial.glob("*.npy"))
    parts[0].write_bytes(parts[0].read_bytes()[:-1])
    parts[1].write_bytes(b"")
    np.save(parts[2], np.zeros((3, 3), np.float32))
    np.save(parts[3], np.array([[print]]), allow_pickle=True)
    plan = (partial / "plan.json").read_text()
    (partial / "plan.json").write_text(plan[:-1])
    with pytest.raises(TacitError, match="delete the folder"):
        embed_to_file(run, data, out, **options)
    (partial / "plan.json").write_text(plan)
    embed_to_file(run, data, out, **options)
    assert np.array_equal(np.load(out), run.embed(data, batch_size=8))


def _disk_full(path, rows, shape, write=embed_file._write_npy):
    """Room for the parts, not for the whole."""
    if path.name != ".v.npy.tmp":
        return write(path, rows, shape)
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("wrong", ["twice", "short", "lost"])
def test_rows_that_come_twice_or_not_at_all_are_an_error(run, tmp_path, monkeypatch, wrong):
    def engine(*_):
        def compute(missing):
            rows = [(part.start, np.zeros((len(part), 4), np.float32)) for part in missing]
            if wrong == "twice":
                rows.append(rows[0])
            elif wrong == "short":
                rows[0] = (0, rows[0][1][1:])
            else:
                rows.pop()
            return rows

        return compute

    monkeypatch.setattr(embed_file, "_local_engine", engine)
    words = "1 of 3 shards did not come back" if wrong == "lost" else "came back twice or in part"
    out = tmp_path / "v.npy"
    with pytest.raises(TacitError, match=words):
        embed_to_file(run, images(tmp_path / "x.npz"), out, shard=16, progress=False)
    assert not out.exists()


def test_parts_of_something_else_are_refused(run, tmp_path):
    data, out = images(tmp_path / "x.npz"), tmp_path / "v.npy"
    partial = tmp_path / "v.npy.partial"
    partial.mkdir()
    plan = make_plan(run, run.open(data)) | {"shard": 16}
    for name, value in (("shard", 8), ("data", "other"), ("encoder", "other")):
        (partial / "plan.json").write_text(json.dumps(plan | {name: value}))
        with pytest.raises(TacitError, match="part of another embedding"):
            embed_to_file(run, data, out, shard=16, progress=False)
    (partial / "plan.json").write_text(json.dumps(plan))
    embed_to_file(run, data, out, shard=16, progress=False)
    assert len(np.load(out)) == 40


def test_two_processes_do_not_write_one_file(run, tmp_path):
    data, out = images(tmp_path / "x.npz"), tmp_path / "v.npy"
    (tmp_path / "v.npy.partial").mkdir()
    with (
        embed_file._lock(tmp_path / "v.npy.partial", out),
        pytest.raises(TacitError, match="Another process is writing"),
    ):
        embed_to_file(run, data, out, progress=False)
    embed_to_file(run, data, out, progress=False)


def test_without_ray_the_message_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tacit\[cluster\]'"):
        embed_to_file(run, "digits", tmp_path / "v.npy", engine="ray")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("digits", {"engine": "rai"}, "Did you mean 'ray'"),
        ("digits", {"workers": 2}, "belong to --engine ray"),
        ("digits", {"address": "auto"}, "belong to --engine ray"),
        (np.zeros((4, 16, 16), np.uint8), {"engine": "ray"}, "ndarray in memory"),
    ],
)
def test_mistakes(run, tmp_path, data, options, words):
    with pytest.raises(ConfigError, match=words):
        embed_to_file(run, data, tmp_path / "v.npy", progress=False, **options)
    assert not list(tmp_path.iterdir())
    (tmp_path / "v.npy").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        embed_to_file(run, "digits", tmp_path / "v.npy", progress=False)


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus", "gpus"),
    [
        ([{"CPU": 8.0}], 2, 4, 0.0),
        ([{"CPU": 3.0}, {"CPU": 5.0}], 2, 3, 0.0),  # 4 each would not fit the smaller machine
        ([{"CPU": 4.0}, {"CPU": 4.0}], None, 1, 0.0),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 64.0}], None, 8, 1.0),  # machines without GPU rest
        ([{"CPU": 16.0, "GPU": 4.0}], 6, 2, 0.5),
    ],
)
def test_each_worker_gets_the_most_that_fits(monkeypatch, nodes, workers, cpus, gpus):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": n} for n in nodes])
    pool = ray_session._pool_of_cluster(workers)
    assert (pool.cpus, pool.gpus) == (cpus, gpus)


def test_more_workers_than_a_cluster_holds(monkeypatch):
    ray = pytest.importorskip("ray")
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(ConfigError, match="2 CPUs, too few for 3 workers"):
        ray_session._pool_of_cluster(3)


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "No Ray cluster .* '127.0.0.1:1'"), ("ray://head:10001", "--address auto")],
)
def test_a_wrong_address_is_said_at_once(address, words):
    pytest.importorskip("ray")
    with pytest.raises(TacitError, match=words), ray_session.ray_session(1, address, 1):
        pass
