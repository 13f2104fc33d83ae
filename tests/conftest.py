"""Shared set-up of the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The hook finds its checker by name; an int is a float here, as in Python's own typing rules.
_CHECKER = ModuleType("tacit_test_typechecker")
_CHECKER.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[_CHECKER.__name__] = _CHECKER

# Must run before the rooms are imported: every shape in a signature is then checked at run time.
_HOOK = install_import_hook(
    ["tacit.losses", "tacit.parts", "tacit.evaluation"], f"{_CHECKER.__name__}.check"
)

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
