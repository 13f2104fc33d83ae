"""tacit runs"""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(runs)


def runs(
    folder: Path = typer.Argument(Path("runs"), help="Folder that holds run folders."),
) -> None:
    """List runs: state, method, data, time, label-free criteria, probe."""
    from rich.console import Console
    from rich.table import Table

    from tacit.compare import list_runs

    rows = list_runs(folder)
    if not rows:
        typer.echo(f"No runs in '{folder}'. `tacit pretrain` makes one.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("run", "state", "method", "data", "step", "time", "RankMe", "health", "kNN"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row.cells())
    Console().print(table)
