"""Where a run was trained: what is needed to repeat it elsewhere."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tacit.errors import TacitError
from tacit.untrusted import read_text

PACKAGES = ("tacit", "torch", "lightning", "numpy", "scikit-learn", "pydantic")


def about_machine(seed: int) -> dict[str, Any]:
    """Versions, hardware, seed, and the commit of the user's working folder."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "seed": seed,
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str | None:
    """The commit of the user's working folder, read without running git."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        git = folder / ".git"
        if (git / "HEAD").is_file():
            with contextlib.suppress(TacitError):
                text = read_text(git / "HEAD").strip()
                if text.startswith("ref: "):
                    text = read_text(git / text.removeprefix("ref: ")).strip()
                # Whatever else a reference leads to is not for a file that people share.
                return text if re.fullmatch("[0-9a-f]{40,64}", text) else None
            return None
    return None
