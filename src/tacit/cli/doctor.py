"""tacit doctor"""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(doctor)


def doctor(
    data: str = typer.Argument(None, help="Also open this data: images:DIR, cifar10:PATH ..."),
) -> None:
    """Check the installation, the hardware, the disk and, if given, your data.

    Exit code 1 where something is wrong.

    [bold]Example[/bold]   tacit doctor images:./photos
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tacit.doctor import examine

    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    findings = list(examine(data))
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        advice = f"\n[dim]{escape(finding.advice)}[/dim]" if finding.advice else ""
        table.add_row(finding.name, state, escape(finding.text) + advice)
    Console().print(table)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
