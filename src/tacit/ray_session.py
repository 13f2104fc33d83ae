"""A quiet Ray: one that this process starts for itself, or a cluster that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tacit.errors import ConfigError, MissingExtraError, TacitError

OBJECT_STORE = 200 * 2**20  # bytes, at the least
SETTINGS = {
    "RAY_usage_stats_enabled": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what its daemons would print about a worker that died
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` sends the whole working folder around
    "RAY_worker_niceness": "0",  # as this process: nicer ones hardly run on a busy machine
    # Patience: on a busy machine a process is slow, not dead.
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_health_check_failure_threshold": "50",
}


@dataclass(frozen=True)
class Pool:
    """How many workers there are and what each may use."""

    workers: int
    cpus: int
    gpus: float
    threads: int


def require_ray(needed_for: str) -> None:
    """Raise MissingExtraError where Ray Data is not installed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("ray", "cluster", needed_for) from error


@contextlib.contextmanager
def ray_session(workers: int | None, address: str | None, result: int) -> Iterator[Pool]:
    """Connect to Ray, and leave it at the end.

    Parameters
    ----------
    workers : how many; by default one a GPU, or one a CPU where there is no GPU.
    address : of a running cluster, `auto` for the one that this machine belongs to; None starts a
        Ray for this process alone, which ends with it.
    result : bytes of the largest thing that a worker hands over; a Ray of its own holds four of
        them a worker in shared memory.

    Raises
    ------
    ConfigError : more workers than the machines hold. TacitError : there is no such cluster.
    """
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if ray.is_initialized():  # the caller's own, who also ends it
        with _silent_logs():
            yield _pool_of_cluster(workers)
        return
    with contextlib.ExitStack() as stack:
        if address is None:
            pool = _pool_of_this_machine(workers)
            folder = stack.enter_context(_folder())
            stack.callback(ray.shutdown)
            with _silent_stderr():
                ray.init(
                    "local",
                    num_cpus=pool.workers,
                    num_gpus=torch.cuda.device_count(),
                    include_dashboard=False,
                    object_store_memory=max(OBJECT_STORE, 4 * pool.workers * result),
                    _temp_dir=str(folder),
                    **quiet,
                )
        else:
            stack.callback(ray.shutdown)
            _check_address(address)
            try:
                with _silent_stderr():
                    ray.init(address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _no_cluster(address, error) from error
            pool = _pool_of_cluster(workers)
        stack.enter_context(_silent_logs())
        stack.enter_context(_sigterm(terminate))
        yield pool


def _pool_of_this_machine(workers: int | None) -> Pool:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = torch.cuda.device_count()
    workers = workers or gpus or cores or 1
    share = _gpu_share([gpus], workers)
    return Pool(workers, 1, share, max(1, torch.get_num_threads() // workers))


def _pool_of_cluster(workers: int | None) -> Pool:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any("GPU" in node for node in nodes):
        nodes = [node for node in nodes if "GPU" in node]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    workers = workers or sum(gpus) or sum(cpus)
    fitting = [c for c in range(1, max(cpus) + 1) if sum(n // c for n in cpus) >= workers]
    if not fitting:
        raise ConfigError(
            f"The cluster has {sum(cpus)} CPUs{' beside its GPUs' * any(gpus)}, too few for "
            f"{workers} workers. Lower --workers or add machines."
        )
    return Pool(workers, fitting[-1], _gpu_share(gpus, workers), fitting[-1])


def _gpu_share(gpus: list[int], workers: int) -> float:
    """The largest 1/k of a GPU that each worker can have; 0 where there are none."""
    return 1 / -(-workers // sum(gpus)) if sum(gpus) else 0.0


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Ray's files, below a path short enough for its sockets (107 bytes in all).

    What a killed process left behind goes too.
    """
    root = Path(tempfile.gettempdir())
    if len(str(root)) > 20:
        root = Path("/tmp")
    for old in root.glob("tacit-ray-*"):
        if not _alive(old.name.rpartition("-")[2]):
            shutil.rmtree(old, ignore_errors=True)
    folder = root / f"tacit-ray-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        pass  # another user's
    return True


@contextlib.contextmanager
def _sigterm(handler: Any) -> Iterator[None]:
    """SIGTERM as it was before Ray took it (to abort with a stack trace), or an orderly end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, handler if callable(handler) else lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's core announces its own log level on the descriptor itself, at every start."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def _silent_logs() -> Iterator[None]:
    """Ray Data writes to its log file, not to the terminal."""
    from ray.data import DataContext

    context = DataContext.get_current()
    handlers = [h for h in logging.getLogger("ray.data").handlers if hasattr(h, "stream")]
    before = [handler.level for handler in handlers]
    bars = context.enable_progress_bars
    context.enable_progress_bars = False
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        for handler, level in zip(handlers, before):
            handler.setLevel(level)


def _check_address(address: str) -> None:
    """Ray itself tries a wrong address for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise ConfigError(
            f"'{address}' is the address of a Ray client. Run the command on a machine of the "
            "cluster, with --address auto or HOST:PORT."
        )
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> TacitError:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return TacitError(
        f"No Ray cluster can be used at '{address}': {reason}. Start one with "
        "`ray start --head`, or leave --address out for a Ray on this machine. (A cluster that "
        "asks for a token takes 'auto' on its own machines, RAY_AUTH_TOKEN elsewhere.)"
    )
