"""Processes for tests that compare several with one: a fresh Python that imports once and forks.

A test file calls `start`, and at its end `if __name__ == "__main__": main(work)`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORLDS = (2, 3)
LIMIT = 900  # seconds, on a machine that does much else; what hangs is a failure


def start(script: str, folder: Path, worlds: Sequence[int] = WORLDS) -> dict[int, list[Any]]:
    """What `work` of a script returned, by number of processes and rank."""
    import torch

    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, script, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
        for world in worlds
    }


def main(work: Callable[[], Any], worlds: Sequence[int] = WORLDS) -> None:
    """Run `work` in groups of processes, and store what it returns."""
    for world in worlds:
        children = [_fork(work, Path(sys.argv[1]), world, rank) for rank in range(world)]
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(ends):
            sys.exit(f"{world} processes ended with {ends}")


def _fork(work: Callable[[], Any], folder: Path, world: int, rank: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        import torch
        import torch.distributed as dist

        signal.alarm(LIMIT - 20)  # or it would keep the pipe to the tests open
        torch.set_num_threads(1)
        store = f"file://{folder / f'store{world}'}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
        torch.save(work(), folder / f"{world}-{rank}.pt")
        dist.barrier()
        dist.destroy_process_group()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # a forked child runs nobody's exit handlers
