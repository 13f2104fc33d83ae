"""What can go wrong on this machine before any training: checked, and said in words."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tacit.errors import TacitError

EXTRAS = {
    "hub": ("datasets", "huggingface_hub"),
    "timm": ("timm",),
    "text": ("transformers", "tokenizers"),
    "medical": ("monai", "einops", "nibabel", "pydicom"),
    "graph": ("torch_geometric",) + (("pymetis",) if sys.platform == "linux" else ()),
    "molecules": ("torch_geometric", "rdkit"),
    "series": ("aeon", "mne"),
    "search": ("faiss",),
    "sweep": ("optuna", "psycopg"),
    "cluster": ("ray",),
    "fast": ("numba",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "track": ("wandb", "mlflow"),
}
CORE = ("torch", "lightning", "numpy", "scikit-learn", "pydantic", "safetensors", "pillow")
LITTLE_DISK = 2 * 2**30  # bytes: a checkpoint of a small ViT and a cache of some thousand images


class Finding(NamedTuple):
    """One thing that was looked at; `advice` says what to do unless it is well."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


def examine(data: Any = None) -> Iterator[Finding]:
    """All checks, one after the other; `data` is a spec that shall be opened too.

    >>> {finding.name for finding in examine()} >= {"python", "torch", "disk"}
    True
    """
    yield _python()
    yield from _packages()
    yield _extras()
    for check in (_hardware, _precision, _views, _memory, _disk, _cache):
        yield _guarded(check.__name__.strip("_"), check)
    if data is not None:
        yield _guarded("data", lambda: _data(data))


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that itself fails is a finding."""
    try:
        return check()
    except TacitError as error:
        return Finding(name, "problem", str(error))
    except (OSError, RuntimeError, ImportError) as error:
        return Finding(name, "problem", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    for name in CORE:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "problem", "not installed", "pip install tacit again.")


def _extras() -> Finding:
    missing = [
        extra
        for extra, modules in EXTRAS.items()
        if any(importlib.util.find_spec(module) is None for module in modules)
    ]
    there = [extra for extra in EXTRAS if extra not in missing]
    text = f"there: {', '.join(there) or 'none'}; not there: {', '.join(missing) or 'none'}"
    advice = f"pip install 'tacit[{missing[0]}]' where you need it." if missing else ""
    return Finding("extras", "note" if missing else "ok", text, advice)


def _hardware() -> Finding:
    import torch

    (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        torch.ones(64, 64, device="cuda").sum().item()
        return Finding("hardware", "ok", f"GPUs: {', '.join(names)}")
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    text = f"no GPU; {threads} threads on {cores} cores"
    if threads < cores:
        return Finding("hardware", "note", text, "OMP_NUM_THREADS limits the threads.")
    return Finding("hardware", "ok", text)


def _precision() -> Finding:
    from tacit.training.resolve import bf16_pays

    return Finding("precision", "ok", "bf16" if bf16_pays() else "32 (bf16 is not faster here)")


def _views() -> Finding:
    if importlib.util.find_spec("numba") is None:
        text = "torch alone; with numba, long runs on a CPU make small views twice as fast"
        return Finding("views", "ok", text)
    try:
        import numba
    except ImportError as error:  # it refuses a numpy that it does not know
        advice = "Small views are made without it: install versions that fit, or remove numba."
        return Finding("views", "note", f"numba cannot be used: {error}", advice)
    text = f"small ones compiled by numba {numba.__version__} in long runs on a CPU"
    return Finding("views", "ok", text)


def _memory() -> Finding:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    gib = pages * size / 2**30
    if gib < 4:
        advice = "Use small batches with --accumulate."
        return Finding("memory", "note", f"{gib:.1f} GiB", advice)
    return Finding("memory", "ok", f"{gib:.1f} GiB")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / 2**30:.1f} GiB free in {Path.cwd()}"
    with tempfile.TemporaryFile(dir=Path.cwd()):
        pass  # a folder that cannot be written to is an OSError
    if free < LITTLE_DISK:
        return Finding("disk", "problem", text, "Free some space, or choose another --out.")
    return Finding("disk", "ok", text)


def _cache() -> Finding:
    from tacit.data.cache import cache_folder

    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root):
        pass
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    free = shutil.disk_usage(root).free
    text = f"{root}: {size / 2**20:.0f} MiB used, {free / 2**30:.1f} GiB free"
    if free < LITTLE_DISK:
        return Finding("cache", "note", text, "Set TACIT_CACHE to a folder on a larger disk.")
    return Finding("cache", "ok", text)


def _data(spec: Any) -> Finding:
    from tacit.data import open_source

    source = open_source(spec)
    text = f"{source.name}: {len(source)} samples ({source.modality})"
    source.batch([0])
    if source.skipped:
        what, why = source.skipped[0]
        advice = f"{len(source.skipped)} could not be read, for instance '{what}': {why}."
        return Finding("data", "note", text, advice)
    return Finding("data", "ok", text)
