"""tacit reproduce"""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(reproduce)


def reproduce(
    claim: str = typer.Argument(None, help="A paper's claim; without it, all are listed."),
    seeds: int = typer.Option(3, min=1, help="Seeds; 3 or more for a verdict."),
    scale: float = typer.Option(1.0, help="Factor of the training steps (0.1: a quick look)."),
    data: str = typer.Option(None, help="Data instead of the claim's own, e.g. cifar10:PATH."),
    out: Path = typer.Option(None, "--out", "-o", help="Folder for NAME.md and NAME.json."),
) -> None:
    """Re-run a paper's main claim at small scale: baseline and system on one budget, a verdict.

    [bold]Example[/bold]   tacit reproduce dcl --data cifar10:./cifar10 --out docs/claims
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from tacit.claims import reproduce as run
    from tacit.registry import CLAIMS

    console = Console()
    if claim is None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("claim", style="bold", no_wrap=True)
        table.add_column("what it says")
        for name in CLAIMS.names():
            table.add_row(name, CLAIMS.get(name).statement)
        console.print(table)
        console.print("\n[dim]tacit reproduce NAME runs one.[/dim]")
        return
    result = run(
        claim,
        seeds=seeds,
        scale=scale,
        data=data,
        out=out,
        tell=lambda text: typer.echo(text, err=True),
    )
    from tacit.claims import markdown

    console.print(Markdown(markdown(result)))
