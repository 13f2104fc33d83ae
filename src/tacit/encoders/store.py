"""An encoder on disk: its weights as safetensors and what it is as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit import __version__
from tacit.encoders.base import Encoder
from tacit.encoders.spec_values import check_values
from tacit.errors import ConfigError, TacitError
from tacit.untrusted import read_json

_CHECKS = ("weights", "checksum")  # of the files, in encoder.json
WEIGHTS, SPEC = "encoder.safetensors", "encoder.json"
_REQUIRED = {"image": ("name", "in_channels", "image_size", "mean", "std")}


def save_encoder(encoder: Encoder, path_dir: str | Path, *, spec: dict[str, Any]) -> Path:
    """Write `encoder.safetensors` and `encoder.json` into a folder, each atomically.

    Parameters
    ----------
    encoder : the network; its mode and device stay as they are.
    path_dir : folder, made if it is missing.
    spec : how to build it again and how to feed it: `name`, optionally `options` and `modality`;
        for images `in_channels`, `image_size`, `mean`, `std` (per channel, of images in [0, 1]);
        other JSON values are kept. `dim` and the tacit version are added.

    Returns
    -------
    The folder.

    Raises
    ------
    ConfigError
        `spec` lacks a key.
    TacitError
        The folder cannot be written.
    """
    full = {k: v for k, v in complete_spec(spec, encoder).items() if k not in _CHECKS}
    folder = Path(path_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TacitError(f"cannot make the folder '{folder}': {error}") from error
    write_atomically(folder / WEIGHTS, lambda path: save_file(dense_weights(encoder), path))
    full["weights"] = _digest((folder / WEIGHTS).read_bytes())
    full["checksum"] = _checksum(full)
    text = json.dumps(full, indent=2) + "\n"
    write_atomically(folder / SPEC, lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def load_encoder(
    path: str | Path, *, module: nn.Module | None = None
) -> tuple[Encoder, dict[str, Any]]:
    """Read an encoder that `save_encoder` or `export_encoder(format="safetensors")` wrote.

    Parameters
    ----------
    path : the folder, or the single exported file.
    module : the network itself, where it was the user's own and has no name to build it by.

    Returns
    -------
    The encoder in eval mode on the CPU, and its spec.

    Raises
    ------
    TacitError
        A file is missing or damaged, or its weights do not fit the network.
    """
    path = Path(path)
    if path.is_dir():
        weights_path, spec = path / WEIGHTS, read_spec(path / SPEC)
    else:
        weights_path, spec = path, None
    if not weights_path.is_file():
        raise TacitError(
            f"'{weights_path}' does not exist; give the folder of a run or of save_encoder"
        )
    try:
        if spec is None:
            spec = _read_metadata(weights_path)
        if spec.pop("weights", None) not in (None, _digest(weights_path.read_bytes())):
            raise TacitError(
                f"'{weights_path}' is damaged: it is not the file that encoder.json describes. "
                "Restore it, or save the encoder again from its checkpoint"
            )
        weights = load_file(weights_path)
    except (SafetensorError, OSError) as error:
        raise TacitError(
            f"'{weights_path}' is damaged or not a safetensors file ({error}); "
            "save the encoder again from its checkpoint"
        ) from error
    missing = _missing(spec)
    if missing:
        where = path / SPEC if path.is_dir() else path
        raise TacitError(f"the description in '{where}' lacks {', '.join(missing)}; save it again")
    encoder = _rebuild(spec, module)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise TacitError(
            f"the weights in '{weights_path}' do not fit the encoder '{spec['name']}' with "
            f"{spec.get('options', {})}; encoder.json and the weights must come from the same "
            f"save:\n{_shorten(str(error))}"
        ) from error
    return encoder.eval(), spec


def complete_spec(spec: dict[str, Any], encoder: Encoder) -> dict[str, Any]:
    """The spec as it is written: checked, with `options`, `dim` and the version."""
    missing = _missing(spec)
    if missing:
        raise ConfigError(f"the encoder's spec lacks {', '.join(missing)}")
    full = {
        "options": {},
        "modality": "image",
        **spec,
        "dim": encoder.dim,
        "tacit_version": __version__,
    }
    for key in ("mean", "std") if full["modality"] == "image" else ():
        full[key] = [float(value) for value in full[key]]
        if len(full[key]) != full["in_channels"]:
            raise ConfigError(
                f"{key} has {len(full[key])} values for {full['in_channels']} channels"
            )
    return full


def dense_weights(encoder: Encoder) -> dict[str, Tensor]:
    """The state as dense CPU tensors; a copy, because safetensors refuses shared storage."""
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in encoder.state_dict().items()
    }


def _missing(spec: dict[str, Any]) -> list[str]:
    return [
        key for key in _REQUIRED.get(spec.get("modality", "image"), ("name",)) if key not in spec
    ]


def _rebuild(spec: dict[str, Any], module: nn.Module | None) -> Encoder:
    from tacit.modalities import modality  # each modality builds its own networks

    options = spec.get("options") or {}
    if spec["name"].startswith(("timm:", "hf:")):
        options = {**options, "pretrained": False}  # the weights come from the file
    try:
        kind = modality(spec.get("modality", "image"))
        return kind.build_encoder(spec["name"] if module is None else module, spec, options)
    except (ConfigError, TypeError, ValueError, LookupError, RuntimeError, MemoryError) as error:
        hint = "" if module is not None else " Was it your own module? Pass it as module=..."
        why = str(error) or type(error).__name__
        raise TacitError(f"cannot build the saved encoder '{spec['name']}': {why}{hint}") from error


def read_spec(path: Path) -> dict[str, Any]:
    """What `encoder.json` says.

    Raises
    ------
    TacitError : it is missing or damaged.
    """
    if not path.is_file():
        raise TacitError(f"'{path}' does not exist; give the folder of a run or of save_encoder")
    spec = read_json(path, "save the encoder again")
    if "checksum" in spec and spec.pop("checksum") != _checksum(spec):
        raise TacitError(
            f"'{path}' is damaged or was edited: its checksum is not that of its content. Save the "
            "encoder again, or remove the line of the checksum if the change was meant"
        )
    check_values(spec, path)
    return spec


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _checksum(spec: dict[str, Any]) -> str:
    return _digest(json.dumps(spec, sort_keys=True).encode())


def _read_metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get("tacit")
    if header is None:
        raise TacitError(
            f"'{path}' holds weights but not what network they belong to; "
            "load the folder of save_encoder, or load_state_dict them yourself"
        )
    try:
        spec = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise TacitError(f"'{path}' is damaged ({error}); save the encoder again") from error
    if not isinstance(spec, dict):
        raise TacitError(f"'{path}' does not describe an encoder; save the encoder again")
    check_values(spec, path)
    return spec


def _shorten(message: str, lines: int = 6) -> str:
    parts = [line.strip()[:200] for line in message.splitlines()]
    return "\n".join([*parts[:lines], "..."] if len(parts) > lines else parts)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary file beside it, so that a reader never sees half a file."""
    if not path.parent.is_dir():
        raise TacitError(f"cannot write '{path}': the folder '{path.parent}' does not exist")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise TacitError(
            f"cannot write '{path}': {error}; check permissions and the free space of the disk"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
