"""Embeddings to one file, in bounded memory, resumable after any interruption."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tacit.data.base import Source, Split
from tacit.embedding import embed_all
from tacit.errors import ConfigError, TacitError, did_you_mean
from tacit.run import Run
from tacit.training.folder import write_atomic
from tacit.untrusted import read_json

SHARD = 8192  # samples between two points at which an interrupted embedding resumes
FORMATS = (".parquet", ".npy")
ENGINES = ("local", "ray")

# Ranges of positions -> (first position, embeddings) of each, in any order.
Engine = Callable[[list[range]], Iterable[tuple[int, np.ndarray]]]


def embed_to_file(
    run: Run,
    data: Any,
    out: str | Path,
    *,
    split: Split = "all",
    batch_size: int = 256,
    shard: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Path:
    """Embed a source and write one `.parquet` (index, label, embedding) or `.npy` (n, dim) file.

    Finished shards lie in `OUT.partial/`; the same call after an interruption computes only what
    is missing, with either engine. The file itself appears at the end, whole.

    Parameters
    ----------
    shard : samples of one unit of work; 8192 by default. A multiple of `batch_size` fills every
        batch.
    engine : `local` (this process), or `ray`: worker processes, here or on a cluster. The batches
        are the same, so the file is too, up to the rounding of the hardware that computes it.
    workers, address : of `ray`, see `tacit.embed_ray.ray_engine`.

    Raises
    ------
    ConfigError : another file ending, an unknown engine. TacitError : the disk is full or not
    writable, another process is writing the same file, or the partial folder belongs to another
    run or other data. MissingExtraError : `ray` without the extra `cluster`.
    """
    out, shard = Path(out), shard or SHARD
    if out.suffix not in FORMATS:
        raise ConfigError(f"'{out}' must end in {' or '.join(FORMATS)}.")
    if out.is_dir():
        raise ConfigError(f"'{out}' is a folder; give the name of a file.")
    _check_engine(engine, workers, address)
    source = run.open(data, split)
    plan = make_plan(run, source)
    compute: Engine
    if engine == "ray":
        from tacit.embed_ray import Task, ray_engine

        task = Task.of(run, data, split, batch_size, plan, shard)
        compute = ray_engine(task, workers, address)
    else:
        compute = _local_engine(run, source, batch_size)
    partial = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
        with _lock(partial, out):
            _check_plan(partial, plan | {"shard": shard})
            starts = range(0, len(source), shard)
            shape = (len(source), run.encoder.dim)
            _fill(partial, shape, starts, compute, progress)
            shards = (np.load(_shard(partial, start)) for start in starts)
            with _appearing(out) as temporary:
                if out.suffix == ".npy":
                    _write_npy(temporary, shards, shape)
                else:
                    _write_parquet(temporary, shards, source)
            shutil.rmtree(partial)
    except OSError as error:
        kept = f"What is done is kept in '{partial}'; the same command continues there."
        raise TacitError(
            f"Cannot write '{out}': {error.strerror or error}. {kept if partial.is_dir() else ''}"
        ) from error
    return out


@contextlib.contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A file to write that becomes `out` at the end; where that fails, it takes no room."""
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def make_plan(run: Run, source: Source) -> dict[str, Any]:
    """What decides the embeddings: equal plans, equal embeddings, on whatever machine."""
    weights = hashlib.sha256((run.path / "encoder.safetensors").read_bytes()).hexdigest()
    return {"encoder": weights, "data": source.fingerprint, "samples": len(source)}


def _check_engine(engine: str, workers: int | None, address: str | None) -> None:
    if engine not in ENGINES:
        raise ConfigError(
            f"Unknown engine '{engine}'; {' or '.join(ENGINES)}.{did_you_mean(engine, ENGINES)}"
        )
    if engine == "local" and (workers is not None or address is not None):
        raise ConfigError("--workers and --address belong to --engine ray.")
    if engine == "ray":
        from tacit.ray_session import require_ray

        require_ray("--engine ray")


def _local_engine(run: Run, source: Source, batch_size: int) -> Engine:
    def compute(missing: list[range]) -> Iterator[tuple[int, np.ndarray]]:
        for part in missing:
            yield (
                part.start,
                embed_all(
                    run.encoder, run.view, source, positions=np.array(part), batch_size=batch_size
                ),
            )

    return compute


def _fill(
    partial: Path, shape: tuple[int, int], starts: range, compute: Engine, progress: bool
) -> None:
    """Compute and write the shards that are not there yet, or damaged."""
    n, dim = shape
    ranges = [range(start, min(start + starts.step, n)) for start in starts]
    missing = [p for p in ranges if not _is_whole(_shard(partial, p.start), (len(p), dim))]
    if not missing:
        return
    left = {part.start: len(part) for part in missing}
    for start, rows in _track(compute(missing), len(missing), len(ranges), progress):
        if left.pop(start, None) != len(rows):
            raise TacitError(f"Samples {start}.. came back twice or in part; nothing is written.")
        _write_shard(_shard(partial, start), rows)
    if left:
        raise TacitError(f"{len(left)} of {len(missing)} shards did not come back; run it again.")


def _is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Whether a shard can be read; its content is not."""
    try:
        rows = np.load(path, mmap_mode="r") if path.is_file() else None
    except (OSError, ValueError, EOFError):
        return False
    return isinstance(rows, np.ndarray) and rows.shape == shape and rows.dtype == np.float32


def _shard(partial: Path, start: int) -> Path:
    return partial / f"{start:012d}.npy"


@contextlib.contextmanager
def _lock(partial: Path, out: Path) -> Iterator[None]:
    """Hold the partial folder; the system frees it when the process ends, however it ends."""
    lock = FileLock(partial / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TacitError(
            f"Another process is writing '{out}'. Wait for it, stop it, or choose another file."
        ) from None
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def _check_plan(partial: Path, plan: dict[str, Any]) -> None:
    path = partial / "plan.json"
    if path.is_file():
        if read_json(path, f"delete the folder '{partial}'") != plan:
            raise TacitError(
                f"'{partial}' holds a part of another embedding (other encoder, data or size of "
                "shard). Delete that folder or choose another output file."
            )
        return
    write_atomic(path, json.dumps(plan))


def _write_shard(path: Path, rows: np.ndarray) -> None:
    temporary = path.with_suffix(".tmp")
    _write_npy(temporary, iter([rows]), rows.shape)
    os.replace(temporary, path)


def _write_npy(path: Path, shards: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    """Written, not mapped: a mapped file on a full disk kills the process. Nor by `np.save`, whose
    error does not say that the disk is full.
    """
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for rows in shards:
            file.write(np.ascontiguousarray(rows, "<f4").data)
        file.flush()
        os.fsync(file.fileno())


def _write_parquet(path: Path, shards: Iterator[np.ndarray], source: Source) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, start = None, 0
    for rows in shards:
        n, dim = rows.shape
        flat = pa.array(rows.reshape(-1), pa.float32())
        columns = {"index": pa.array(np.arange(start, start + n))}
        if source.labels is not None:
            columns["label"] = pa.array(source.labels[start : start + n])
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, dim)
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        start += n
    assert writer is not None, "a source has at least one sample"
    writer.close()


def _track(
    results: Iterable[tuple[int, np.ndarray]], missing: int, total: int, progress: bool
) -> Iterator[tuple[int, np.ndarray]]:
    from rich.console import Console
    from rich.progress import track

    done = total - missing
    return iter(
        track(
            results,
            description="embedding" + (f" (resumed, {done}/{total} done)" if done else ""),
            total=missing,
            console=Console(stderr=True),
            disable=not progress,
        )
    )
