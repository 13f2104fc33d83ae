"""A worker: takes trials of a shared study until all are over."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tacit.errors import TacitError
from tacit.sweeps.objective import Stopped, run_trial
from tacit.sweeps.plan import Plan
from tacit.sweeps.study import SharedStudy

POLL = 1.0  # seconds between looks for a trial that was given back


def work(plan: Plan, *, progress: bool = False, after: Callable[[], None] | None = None) -> bool:
    """Train trials until all of the plan are over, also those that killed workers left.

    Parameters
    ----------
    plan : what to train.
    progress : show a bar of each run.
    after : called after each trial.

    Returns
    -------
    Whether the sweep is over; False where the worker was told to stop.

    Raises
    ------
    TacitError : the storage cannot be reached, or the disk is full.
    """
    with stoppable():
        try:
            shared = SharedStudy(plan)
            while not shared.done and not shared.hopeless():
                trial = shared.claim()
                if trial is None:
                    time.sleep(POLL)
                    continue
                run_trial(shared, trial, progress=progress)
                if after is not None:
                    after()
        except (Stopped, KeyboardInterrupt):
            return False
    return True


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is like Ctrl-C, a KeyboardInterrupt, also while no run is in training."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work_in_process(plan: Plan, threads: int, gpu: int | None) -> None:
    """`work` as the only thing that a process does; exit code 0, or 130 where it was stopped."""
    os.setpgrp()  # Ctrl-C reaches the parent, which tells its workers once
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    threading.Thread(target=_follow_parent, daemon=True).start()
    use_threads(threads)
    _quiet()
    try:
        raise SystemExit(0 if work(plan) else 130)
    except TacitError as error:
        raise SystemExit(f"error: {error}") from None


def use_threads(threads: int) -> None:
    """This process's share of the cores, in torch and in numpy's libraries."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _follow_parent() -> None:
    """A worker whose parent is gone saves its run and ends."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _quiet() -> None:
    """Warnings as one line, as on the command line."""
    import sys
    import warnings

    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
