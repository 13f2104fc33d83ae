"""Encoders in formats that other programs read: safetensors, TorchScript, ONNX."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tacit.encoders.base import Encoder
from tacit.encoders.store import complete_spec, dense_weights, write_atomically
from tacit.errors import ConfigError, MissingExtraError, TacitError


class NormalizedEncoder(nn.Module):
    """An encoder that normalises its input itself, (x - mean) / std, each channel by its own.

    Images are floats in [0, 1] (n, C, H, W), series (n, C, T) in the unit of the data.

    >>> from tacit.encoders import build_encoder
    >>> encoder = build_encoder("small", in_channels=1, image_size=32)
    >>> NormalizedEncoder(encoder, mean=[0.5], std=[0.25])(torch.rand(2, 1, 32, 32)).shape[0]
    2
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return self.encoder((x - self.mean.view(shape)) / self.std.view(shape))


def export_encoder(
    encoder: Encoder,
    spec: dict[str, Any],
    path: str | Path,
    format: Literal["safetensors", "torchscript", "onnx"] = "safetensors",
    include_normalisation: bool = True,
) -> Path:
    """Write one file that other programs read.

    "torchscript" and "onnx" are functions from images (N, C, H, W) or series (N, C, T) of the size
    in `spec` to features (N, dim), with any N; with `include_normalisation` they take images as
    floats in [0, 1], and series in the unit of the data.
    "safetensors" is weights only, with `spec` as JSON in its header under "tacit".

    Raises
    ------
    ConfigError
        Unknown format, `spec` lacks a key, or a format that cannot hold this kind of encoder.
    MissingExtraError
        ONNX without the packages onnx and onnxscript.
    TacitError
        The file cannot be written, or the network cannot be traced.
    """
    full = complete_spec(spec, encoder)
    path = Path(path)
    if format == "safetensors":
        header = {"tacit": json.dumps(full)}
        write_atomically(
            path, lambda target: save_file(dense_weights(encoder), target, metadata=header)
        )
        return path
    if format not in ("torchscript", "onnx"):
        raise ConfigError(f"unknown format '{format}'; use 'safetensors', 'torchscript' or 'onnx'")
    sizes = {"image": ("image_size", "image_size"), "series": ("length",)}.get(full["modality"])
    if sizes is None:
        raise ConfigError(
            f"an encoder of {full['modality']} data has no {format} form; use format='safetensors'"
        )
    network: nn.Module = copy.deepcopy(encoder).cpu().float()
    if include_normalisation:
        network = NormalizedEncoder(network, mean=full["mean"], std=full["std"])
    network = network.eval().requires_grad_(False)
    example = torch.rand(2, full["in_channels"], *(full[size] for size in sizes))
    if format == "onnx":
        _require_onnx()
    export = _export_torchscript if format == "torchscript" else _export_onnx

    def write(target: Path) -> None:
        # Sizes become constants of the trace, which warns: a fixed image size means just that.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                export(network, example, target)
            except OSError:
                raise
            except Exception as error:  # tracers raise many kinds; the first line says what
                reason = str(error).strip().partition("\n")[0]
                raise TacitError(
                    f"this network cannot be exported as {format} ({reason}); its path must not "
                    "depend on the values of its input. format='safetensors' always works"
                ) from error

    write_atomically(path, write)
    return path


def _export_torchscript(network: nn.Module, example: Tensor, path: Path) -> None:
    # The check runs the trace on another batch size.
    traced = torch.jit.trace(network, example, check_inputs=[(torch.rand(3, *example.shape[1:]),)])
    torch.jit.save(traced, str(path))


def _export_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=["images" if example.ndim == 4 else "series"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _require_onnx() -> None:
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, "onnx", "export to ONNX") from error
