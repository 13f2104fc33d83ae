"""Workers side by side: processes of this machine, or tasks of a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from tacit.errors import TacitError
from tacit.sweeps.plan import Plan
from tacit.sweeps.storage import GRACE, RETRIES
from tacit.sweeps.worker import use_threads, work, work_in_process

log = logging.getLogger("tacit")

LOOK = 1.0  # seconds between two looks at the workers
STOPPED = 130


def run_local(plan: Plan, workers: int, tell: Callable[[], None]) -> bool:
    """Train with processes of this machine; a killed one is replaced.

    Parameters
    ----------
    plan : what to train.
    workers : processes; they share the cores (and GPUs) evenly.
    tell : called regularly, to show what is over.

    Returns
    -------
    False where the sweep was stopped before its end.

    Raises
    ------
    TacitError : a worker ended with an error, or workers are killed again and again.
    """
    import torch

    threads, gpus = max(1, torch.get_num_threads() // workers), torch.cuda.device_count()
    context = multiprocessing.get_context("spawn")
    killed, allowed = 0, workers + RETRIES * plan.trials

    def start(i: int) -> BaseProcess:
        process = context.Process(
            target=work_in_process, args=(plan, threads, i % gpus if gpus else None)
        )
        process.start()
        return process

    running = {i: start(i) for i in range(workers)}
    try:
        while running:
            wait([process.sentinel for process in running.values()], timeout=LOOK)
            tell()
            for i, process in list(running.items()):
                if process.is_alive():
                    continue
                code = process.exitcode or 0
                del running[i]
                if code < 0:
                    killed += 1
                    log.warning(
                        "worker %d was killed (signal %d); its trial is trained again after %d s "
                        "without a sign of life", i, -code, GRACE * plan.heartbeat,
                    )  # fmt: skip
                    if killed > allowed:
                        raise TacitError("Workers are killed again and again: is memory short?")
                    running[i] = start(i)
                elif code == STOPPED:
                    return False
                elif code:
                    raise TacitError("A worker ended with an error (above). What is trained stays.")
        return True
    except KeyboardInterrupt:
        return False
    finally:
        _end(running)


def _end(running: dict[int, BaseProcess]) -> None:
    """Tell all workers to save and stop, and wait; a second Ctrl-C does not wait."""
    for process in running.values():
        process.terminate()
    try:
        for process in running.values():
            process.join()
    except KeyboardInterrupt:
        for process in running.values():
            process.kill()


def run_ray(plan: Plan, workers: int | None, address: str | None, tell: Callable[[], None]) -> bool:
    """Train with tasks of a Ray cluster; the storage and the folder must be seen from all its
    machines.

    Parameters
    ----------
    plan : what to train.
    workers : tasks; None: one a GPU, or one a CPU where there is no GPU.
    address : of the cluster; None starts a Ray on this machine.
    tell : called regularly, to show what is over.

    Returns
    -------
    False where the sweep was stopped before its end.
    """
    from tacit.ray_session import ray_session, require_ray

    require_ray("--engine ray")
    import ray

    with ray_session(workers, address, 0) as pool:
        remote = ray.remote(work_on_ray).options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=RETRIES * plan.trials
        )
        tasks = [remote.remote(plan, pool.threads) for _ in range(pool.workers)]
        try:
            waiting = tasks
            while waiting:
                _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK)
                tell()
            return all(ray.get(tasks))
        except KeyboardInterrupt:
            for task in tasks:
                ray.cancel(task, force=False)
            for task in tasks:
                with suppress(ray.exceptions.RayError):
                    ray.get(task, timeout=60)
            return False
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, TacitError) else error
            raise TacitError(f"A worker ended with an error: {cause}") from error
        except ray.exceptions.RayError as error:
            raise TacitError(f"The Ray cluster lost a worker for good: {error}") from error


def work_on_ray(plan: Plan, threads: int) -> bool:
    """`work` as a Ray task."""
    import os

    with suppress(OSError):
        os.chdir(plan.folder)
    use_threads(threads)
    return work(plan)
