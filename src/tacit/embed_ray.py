"""Bulk embedding on Ray Data: the ranges of a source over worker processes, here or on a cluster.

Only positions travel to the workers and only embeddings come back; every worker opens the run and
the data itself. A range whose worker dies is computed again by another one, and the caller writes
each range under its first position, so nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from tacit.data.base import Source, Split
from tacit.embedding import embed_all
from tacit.errors import ConfigError, TacitError
from tacit.ray_session import Pool, ray_session

if TYPE_CHECKING:
    from tacit.embed_file import Engine
    from tacit.run import Run

logger = logging.getLogger("tacit.embed")
BLOCKS = 4096  # tasks of Ray at most: its own cost a task stays small beside the work
ATTEMPTS = 5  # at one range, each of which ended with the death of its worker


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know; it is sent once a worker."""

    run: str
    module: nn.Module | None  # the user's own encoder, where the run has one
    data: str | None
    split: Split
    batch_size: int
    plan: dict[str, Any]
    folder: str  # relative paths in `data` start here
    shard_bytes: int

    @classmethod
    def of(
        cls, run: Run, data: Any, split: Split, batch_size: int, plan: dict[str, Any], shard: int
    ) -> Task:
        """The task of `embed_to_file`.

        Raises
        ------
        ConfigError : the data is in this process's memory.
        """
        if not (data is None or isinstance(data, str)):
            raise ConfigError(
                f"The workers of engine 'ray' open the data themselves, which a "
                f"{type(data).__name__} in memory does not allow. Give a spec such as "
                "'images:DIR' or 'npz:FILE', or use engine 'local'."
            )
        path, size = str(run.path.resolve()), shard * run.encoder.dim * 4
        return cls(path, run._own, data, split, batch_size, plan, os.getcwd(), size)


class Worker:
    """One worker: opens the run and the data at its first range, then embeds ranges.

    Parameters
    ----------
    threads : of the CPU, for this worker.
    begin : counts how often a range was begun, by all workers together.
    """

    def __init__(self, task: Task, threads: int, begin: Callable[[int], int]) -> None:
        self.task = task
        self.threads = threads
        self.begin = begin
        self.opened: tuple[Run, Source] | None = None

    def __call__(self, ranges: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """{"start", "stop"} -> {"start", "rows", "attempt", "error"}.

        `rows` are the bytes of the float32 embeddings, or `error` says why there are none.
        One range at a time. An error that the user can act on is a result: raised here, it would
        be tried again.
        """
        start, stop = int(ranges["start"][0]), int(ranges["stop"][0])
        attempt, rows, error = self.begin(start), b"", ""
        try:
            rows = self._embed(start, stop, attempt)
        except (TacitError, OSError) as problem:
            error = str(problem)
        return {"start": [start], "rows": [rows], "attempt": [attempt], "error": [error]}

    def _embed(self, start: int, stop: int, attempt: int) -> bytes:
        if attempt > ATTEMPTS:  # Ray itself would try for ever
            raise TacitError(
                f"{ATTEMPTS} workers died, one after the other, at the samples {start} to "
                f"{stop - 1}. Most often the memory was too small: lower --batch-size or "
                "--workers. Else a sample kills the program that reads it."
            )
        if self.opened is None:
            self.opened = self._open()
        run, source = self.opened
        positions, size = np.arange(start, stop), self.task.batch_size
        rows = embed_all(run.encoder, run.view, source, positions=positions, batch_size=size)
        return rows.tobytes()

    def _open(self) -> tuple[Run, Source]:
        import torch

        from tacit.embed_file import make_plan
        from tacit.run import Run

        torch.set_num_threads(self.threads)
        where = f"The worker on {socket.gethostname()}"
        try:
            os.chdir(self.task.folder)
            run = Run(self.task.run, encoder=self.task.module)
            source = run.open(self.task.data, self.task.split)
            plan = make_plan(run, source)
        except (TacitError, OSError) as error:
            raise TacitError(
                f"{where} cannot open the run or the data: {error} Every machine reads both by "
                f"the same path as this one (run '{self.task.run}', data '{self.task.data}' seen "
                f"from '{self.task.folder}'): put them on a file system that all of them share."
            ) from error
        if plan != self.task.plan:
            wrong = " and ".join(name for name in plan if plan[name] != self.task.plan[name])
            raise TacitError(
                f"{where} finds another {wrong} than this machine under the same path. Make the "
                "files equal on every machine, or put them on a file system that they share."
            )
        return run, source


def ray_engine(task: Task, workers: int | None, address: str | None) -> Engine:
    """An engine for `embed_to_file`; Ray runs only while it computes.

    Parameters
    ----------
    workers, address : see `tacit.ray_session.ray_session`.
    """

    def compute(missing: list[range]) -> Iterator[tuple[int, np.ndarray]]:
        with ray_session(workers, address, task.shard_bytes) as pool:
            yield from _results(task, missing, pool)

    return compute


def _results(task: Task, missing: list[range], pool: Pool) -> Iterator[tuple[int, np.ndarray]]:
    import ray.data
    from ray.exceptions import RayError, RayTaskError

    items = [{"start": part.start, "stop": part.stop} for part in missing]
    results = ray.data.from_items(items, override_num_blocks=min(len(items), BLOCKS)).map_batches(
        Worker,
        fn_constructor_args=(task, pool.threads, _counter()),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(pool.workers, len(items))),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    lengths, again = {part.start: len(part) for part in missing}, 0
    try:
        for row in results.iter_rows():
            if row["error"]:
                raise TacitError(row["error"])
            again += row["attempt"] > 1
            rows = np.frombuffer(row["rows"], np.float32)
            yield row["start"], rows.reshape(lengths[row["start"]], -1)
    except RayTaskError:
        raise  # a bug, with the worker's own traceback
    except RayError as error:
        raise TacitError(
            f"Ray stopped ({type(error).__name__}: {str(error).splitlines()[0]}). What is done is "
            "kept; the same command continues."
        ) from error
    if again:
        logger.warning("%d of %d shards were begun anew: a worker died.", again, len(missing))


def _counter() -> Callable[[int], int]:
    """Counts the calls with a number, of all processes that hold it."""
    import ray

    # A local class: it travels as a whole, so that its process need not import this package.
    class Counter:
        def __init__(self) -> None:
            self.counts: dict[int, int] = {}

        def count(self, key: int) -> int:
            self.counts[key] = self.counts.get(key, 0) + 1
            return self.counts[key]

    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    counter: Any = ray.remote(**options)(Counter)
    counter = counter.remote()
    return lambda key: ray.get(counter.count.remote(key))
