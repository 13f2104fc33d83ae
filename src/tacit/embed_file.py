"""Embeddings to one file, in bounded memory, resumable after any interruption."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tacit.data.base import Source, Split
from tacit.embedding import embed_chunks
from tacit.errors import ConfigError, TacitError
from tacit.run import Run
from tacit.training.folder import write_atomic

SHARD = 8192  # samples between two points at which an interrupted embedding resumes
FORMATS = (".parquet", ".npy")


def embed_to_file(
    run: Run,
    data: Any,
    out: str | Path,
    *,
    split: Split = "all",
    batch_size: int = 256,
    progress: bool = True,
) -> Path:
    """Embed a source and write one `.parquet` (index, label, embedding) or `.npy` (n, dim) file.

    Finished shards lie in `OUT.partial/`; the same call after an interruption computes only what
    is missing. The file itself appears at the end, whole.

    Raises
    ------
    ConfigError : another file ending. TacitError : the disk is full or not writable, or the
    partial folder belongs to another run or other data.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise ConfigError(f"'{out}' must end in {' or '.join(FORMATS)}.")
    source = run.open(data, split)
    partial = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
        _check_plan(partial, run, source)
        starts = range(0, len(source), SHARD)
        missing = [start for start in starts if not _shard(partial, start).is_file()]
        for start in _track(missing, len(starts), progress):
            positions = np.arange(start, min(start + SHARD, len(source)))
            rows = list(
                embed_chunks(
                    run.encoder, run.view, source, positions=positions, batch_size=batch_size
                )
            )
            _write_shard(_shard(partial, start), np.concatenate(rows))
        temporary = out.with_name(f".{out.name}.tmp")
        shards = (np.load(_shard(partial, start)) for start in starts)
        if out.suffix == ".npy":
            _write_npy(temporary, shards, (len(source), run.encoder.dim))
        else:
            _write_parquet(temporary, shards, source)
        os.replace(temporary, out)
    except OSError as error:
        raise TacitError(
            f"Cannot write '{out}': {error.strerror or error}. What is done is kept in "
            f"'{partial}'; the same command continues there."
        ) from error
    shutil.rmtree(partial)
    return out


def _shard(partial: Path, start: int) -> Path:
    return partial / f"{start:012d}.npy"


def _check_plan(partial: Path, run: Run, source: Source) -> None:
    weights = hashlib.sha256((run.path / "encoder.safetensors").read_bytes()).hexdigest()
    plan = {"encoder": weights, "data": source.fingerprint, "samples": len(source), "shard": SHARD}
    path = partial / "plan.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != plan:
            raise TacitError(
                f"'{partial}' holds a part of another embedding (other encoder or data). Delete "
                "that folder or choose another output file."
            )
        return
    write_atomic(path, json.dumps(plan))


def _write_shard(path: Path, rows: np.ndarray) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.save(file, rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _write_npy(path: Path, shards: Iterator[np.ndarray], shape: tuple[int, int]) -> None:
    array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    start = 0
    for rows in shards:
        array[start : start + len(rows)] = rows
        start += len(rows)
    array.flush()


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


def _track(missing: list[int], total: int, progress: bool) -> Iterator[int]:
    from rich.progress import track

    done = total - len(missing)
    return iter(
        track(
            missing,
            description="embedding" + (f" (resumed, {done}/{total} done)" if done else ""),
            disable=not progress,
        )
    )
