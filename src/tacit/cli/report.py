"""tacit report"""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(report)


def report(run: Path = typer.Argument(..., help="Run folder.")) -> None:
    """Write report.html: one page with everything about a run, for any browser, offline.

    [bold]Example[/bold]   tacit report runs/simclr-photos-20260101-120000
    """
    import tacit

    typer.echo(f"report   {tacit.load(run).report()}")
