"""What the processes of a run have in common: what they train, and their end."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch.distributed as dist

from tacit import distributed
from tacit.errors import ConfigError
from tacit.recipe import Recipe
from tacit.training.launcher import FIRST

LOST = (
    *("closed by peer", "reset by peer", "Broken pipe", "pair closure", "connectFullMesh"),
    *("remote process exiting", "communicator was aborted"),  # NCCL
)
parted = False  # whether a run failed whose processes the first one had started


def leave_at_exit() -> None:
    """End the process group before the interpreter takes its threads down."""
    atexit.unregister(distributed.leave)
    atexit.register(distributed.leave)


@contextmanager
def none_waits(recipe: Recipe) -> Iterator[None]:
    """Where this process fails, the others end too, also if it lives on to handle the error."""
    global parted
    try:
        yield
    except BaseException:
        if recipe.devices * recipe.nodes > 1:
            distributed.leave()
            parted = FIRST in os.environ
        raise


def lost_process(error: BaseException) -> str | None:
    """What to tell the user, where this is how the end of another process looks from here."""
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if isinstance(error, dist.DistNetworkError) or any(words in text for words in LOST):
        return "Another process of this run ended, and its own message says why."
    if "Timed out waiting" in text:
        return "Another process of this run does not answer: look at what it does and says."
    return None


class Agreement(L.Callback):
    """The processes are about to do the same, or none of them begins.

    Processes on several machines may see other files, or skip others, and then count other steps:
    some would wait for steps that the others do not take.

    Parameters
    ----------
    facts : what has to be equal, by name.
    """

    def __init__(self, facts: dict[str, object]) -> None:
        self.facts = facts

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Compare with the other processes.

        Raises
        ------
        ConfigError : (in every process) something is not equal.
        """
        everyone = distributed.gather_objects(self.facts)
        for name, first in everyone[0].items():
            for process, facts in enumerate(everyone):
                if facts[name] != first:
                    raise ConfigError(
                        f"The processes of this run differ in {name}: {_short(first)} in process "
                        f"0, {_short(facts[name])} in process {process}. All of them need the same "
                        "data, recipe and run folder: are these on a disk that all machines see?"
                    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
