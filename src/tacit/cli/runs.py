"""tacit runs"""

from __future__ import annotations

from pathlib import Path

import typer

from tacit.errors import TacitError
from tacit.untrusted import visible


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(runs)


def runs(
    folder: Path = typer.Argument(None, help="Folder that holds run folders (default runs)."),
) -> None:
    """List runs: state, method, data, time, label-free criteria, probe."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tacit.compare import list_runs

    if folder is not None and not folder.is_dir():
        raise TacitError(f"There is no folder '{folder}'.")
    folder = folder or Path("runs")
    rows = list_runs(folder)
    if not rows:
        typer.echo(f"No runs in '{folder}'. `tacit pretrain` makes one.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("run", no_wrap=True)  # to be copied whole
    for column in ("state", "method", "data", "step", "time", "RankMe", "health", "kNN"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row.cells()))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)  # one line a run for grep and files
    console.print(table)
