"""tacit criteria"""

from __future__ import annotations

from pathlib import Path

import typer

from tacit.errors import DataError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(criteria)


def criteria(
    embeddings: Path = typer.Argument(
        ..., help="FILE.npy with a (samples, dim) array; (samples, augmentations, dim) adds LiDAR."
    ),
) -> None:
    """Label-free quality criteria of any embeddings, with direction and range.

    [bold]Example[/bold]   tacit embed RUN cifar10 -o vectors.npy && tacit criteria vectors.npy
    """
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from tacit.evaluation import criteria as compute
    from tacit.evaluation.criteria import TARGETS

    if not embeddings.is_file():
        raise DataError(f"There is no file '{embeddings}'.")
    try:
        array = np.load(embeddings, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        array = None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(
            f"'{embeddings}' is not a .npy file of numbers. Write one with: "
            "tacit embed RUN DATA -o FILE.npy"
        )
    if array.ndim not in (2, 3):
        raise DataError(
            f"'{embeddings}' must be (samples, dim) or (samples, augmentations, dim), "
            f"not {array.shape}."
        )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("criterion", "value", "better", "range"):
        table.add_column(column)
    for name, result in compute(array).items():
        low, high = result.range
        better = f"near {TARGETS[name]:g}" if name in TARGETS else result.direction
        table.add_row(name, f"{result.value:.4f}", better, f"{low:.3g} .. {high:.3g}")
    Console().print(table)
