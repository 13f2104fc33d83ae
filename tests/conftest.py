"""Shared set-up of the tests."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

# The suite is that of a CPU; tests/gpu is for a GPU (`make test-gpu`).
if os.environ.get("TACIT_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# The hook finds its checker by name; an int is a float here, as in Python's own typing rules.
_CHECKER = ModuleType("tacit_test_typechecker")
_CHECKER.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[_CHECKER.__name__] = _CHECKER

# Must run before the rooms are imported: every shape in a signature is then checked at run time.
_HOOK = install_import_hook(
    ["tacit.losses", "tacit.parts", "tacit.evaluation"], f"{_CHECKER.__name__}.check"
)

# The same examples in every run, and no failure because a machine is busy.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

# Small tensors gain nothing from threads, and on a busy machine they lose a lot.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real data sets (``TACIT_TEST_DATA``, or ``shared/data`` beside the repository)."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TACIT_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set TACIT_TEST_DATA to the folder that has it")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed."""
    return torch.Generator().manual_seed(0)


class Done(NamedTuple):
    """How a command ended: its exit code (minus the signal that killed it) and what it printed."""

    code: int
    text: str


@pytest.fixture(scope="session")
def command() -> Callable[..., Done]:
    """command(*arguments, before=None) -> Done: the command line in a forked child.

    A fork has the libraries loaded, so that a command takes milliseconds. `before` runs in the
    child first; an exception that leaves `main` is the exit code 70, with its traceback.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    import tacit.cli
    import tacit.training.fit  # noqa: F401 - once, not in every child

    def run(*arguments: object, before: Callable[[], object] | None = None) -> Done:
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if child == 0:
                os._exit(_main([str(a) for a in arguments], before, output.fileno()))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            return Done(status, output.read().decode("utf-8", "surrogateescape"))

    return run


def _main(arguments: list[str], before: Callable[[], object] | None, output: int) -> int:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", encoding="utf-8") for fd in (1, 2))
        logging.getLogger().handlers.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(600)  # a command that hangs is a failure
        sys.argv = ["tacit", *arguments]
        if before is not None:
            before()
        sys.modules["tacit.cli"].main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
