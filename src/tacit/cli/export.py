"""tacit export"""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(export)


def export(
    run: Path = typer.Argument(..., help="Run folder."),
    out: Path = typer.Option(..., "--out", "-o", help="File to write."),
    format: str = typer.Option("safetensors", "--format", help="safetensors | torchscript | onnx"),
) -> None:
    """Write the encoder for use without tacit; torchscript and onnx normalise their input.

    [bold]Example[/bold]   tacit export runs/simclr-photos --format onnx -o encoder.onnx
    """
    from tacit.encoders import export_encoder, load_encoder

    encoder, spec = load_encoder(run)
    typer.echo(f"{export_encoder(encoder, spec, out, format=format)}")  # type: ignore[arg-type]
