"""The processes that the first one starts on its machine: none outlives or outwaits another.

Lightning starts them. Its own watch over them kills the first process, with no word, as soon as
another one ends with an exit code, also where the first is about to say why the run ended.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

log = logging.getLogger("tacit")

FIRST = "TACIT_FIRST_PROCESS"  # its id, for those that it starts
LOOK = 0.5  # seconds between looks
GRACE = 20  # looks that the first process has to notice that another one ended


Ended: TypeAlias = Callable[[str, str], object]


class OneMachine(LightningEnvironment):
    """Processes of one machine, at a port that nobody else gets until they have met.

    Lightning's own lets go of the port that it finds, seconds before the processes meet there.
    """

    @property
    def main_port(self) -> int:
        """Bound from now on; who shares the address, as torch does, can still listen there."""
        if self._main_port == -1 and "MASTER_PORT" not in os.environ:
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._held.bind((self.main_address, 0))
            self._main_port = self._held.getsockname()[1]
        return super().main_port


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes with the same command, and looks after them."""

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kw: Any
    ) -> Any:
        """Start them where nobody else did, then call `function`."""
        if not self.cluster_environment.creates_processes_externally:
            os.environ[FIRST] = str(os.getpid())
            self._call_children_scripts()
            _guard.watch(self.procs)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kw)


def _launcher(strategy: Any) -> Launcher:
    return Launcher(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)


class DDP(DDPStrategy):
    """A copy of the network in every process."""

    def _configure_launcher(self) -> None:
        self._launcher = _launcher(self)


class FullySharded(ModelParallelStrategy):
    """A part of the network in every process."""

    def _configure_launcher(self) -> None:
        self._launcher = _launcher(self)


class _Guard:
    """Ends the first process where another one ended and it waits for that one nevertheless."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ended: Ended | None = None  # None while nobody trains

    def watch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        threading.Thread(target=self._run, daemon=True, name="tacit-guard").start()

    def _run(self) -> None:
        looks = 0  # not seconds: a process that gets no time to run gets none to notice either
        while True:
            time.sleep(LOOK)
            ended = [
                (i, p.returncode) for i, p in enumerate(self.processes, 1) if p.poll() is not None
            ]
            looks = looks + 1 if ended and self.ended is not None else 0
            if looks > GRACE:
                self._end(*ended[0])

    def _end(self, process: int, code: int) -> None:
        how = f"was killed (signal {-code})" if code < 0 else f"ended with exit code {code}"
        reason = (
            f"Process {process} of this run {how} while the others needed it. Look at what it "
            "says; a script has to make the same calls in every process."
        )
        # Ctrl-C and SIGTERM reach this process too, but not its main thread: that one waits where
        # neither a signal nor an exception reaches it.
        number = -code if code < 0 else code - 128
        stopped = number in (signal.SIGINT, signal.SIGTERM)
        if not stopped:
            log.error("error: %s", reason)
        for other in self.processes:
            other.kill()
        try:
            if self.ended is not None:
                self.ended("interrupted" if stopped else "failed", reason)
        finally:
            os._exit(128 + number if stopped else 2)


_guard = _Guard()


@contextmanager
def guarded(ended: Ended) -> Iterator[None]:
    """While the processes train. `ended` is told, in the first one, the state and the reason."""
    _guard.ended = ended
    try:
        yield
    finally:
        _guard.ended = None
    _at_end_of_first(0)


def end_with_first() -> None:
    """From now on and while it trains this process, which the first one started, ends with it."""
    _at_end_of_first(signal.SIGKILL)
    if os.environ.get(FIRST, str(os.getppid())) != str(os.getppid()):
        raise SystemExit(2)  # it ended already


def _at_end_of_first(number: int) -> None:
    if sys.platform == "linux" and os.environ.get(FIRST, str(os.getpid())) != str(os.getpid()):
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
