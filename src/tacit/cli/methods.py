"""tacit methods"""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(methods)


def methods(
    name: str = typer.Argument(None, help="One method: its paper, equation, options, recipe."),
) -> None:
    """The catalogue of methods, or one of them in full."""
    from rich.console import Console
    from rich.table import Table

    from tacit.catalogue import describe, overview

    console = Console()
    if name is None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("method", "family", "data", "year", "what it does"):
            table.add_column(column, overflow="fold")
        for row in overview():
            table.add_row(
                row.name, row.family, " ".join(row.modalities), str(row.year), row.summary
            )
        console.print(table)
        console.print("\n[dim]tacit methods NAME shows one method in full.[/dim]")
        return
    console.print(describe(name), highlight=False, markup=False, soft_wrap=True)
