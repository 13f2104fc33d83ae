"""tacit compare"""

from __future__ import annotations

from pathlib import Path

import typer

from tacit.untrusted import visible


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(compare)


def compare(
    runs: list[Path] = typer.Argument(..., help="Two or more run folders."),
    criterion: str = typer.Option("rankme", help="Label-free criterion that chooses."),
) -> None:
    """Rank runs without labels; labelled accuracy beside it where it was evaluated.

    Meant for runs of one method on one dataset that differ in a hyper-parameter: the run with the
    highest RankMe is chosen. Rank is necessary for a good representation, not sufficient.

    [bold]Example[/bold]   tacit compare runs/temperature-*
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tacit.compare import compare_runs

    selection, accuracy, report = compare_runs(runs, criterion)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "run", criterion, "stable rank", "feature std", "loss", "kNN"):
        table.add_column(column, overflow="fold")
    for row in selection.table:
        numbers = [row.get(k) for k in (criterion, "stable_rank", "feature_std", "loss")]
        cells = ("" if n is None else f"{n:.4g}" for n in [*numbers, accuracy[row["name"]]])
        table.add_row("*" if row["chosen"] else "", escape(visible(row["name"])), *cells)
    console = Console()
    console.print(table)
    chosen = escape(visible(selection.chosen["name"]))
    console.print(f"\n* chosen without labels: {chosen}", highlight=False)
    if report:
        console.print(
            f"agreement with kNN: Spearman {report.spearman:.2f}, Kendall {report.kendall:.2f}; "
            f"the choice is {report.regret:.4f} below the best run",
            highlight=False,
        )
    for warning in selection.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(visible(warning))}", highlight=False)
