"""tacit sweep"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tacit.cli.pretrain import parse_settings

if TYPE_CHECKING:
    from tacit.sweeps import SweepResult


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(sweep)


def sweep(
    method: str = typer.Argument(None, help="Method; left out: tacit's default, or varied."),
    data: str = typer.Argument(None, help="As in `tacit pretrain`."),
    vary: list[str] = typer.Option(
        ...,
        help="FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B,C; repeat it.",
    ),
    trials: int = typer.Option(20, min=1, help="Runs in all; the same command continues."),
    objective: str = typer.Option("rankme", help="Label-free criterion, see `tacit criteria`."),
    epochs: float = typer.Option(None, help="Passes over the data, each trial."),
    steps: int = typer.Option(None, help="Optimiser steps, each trial."),
    max_time: str = typer.Option(None, help="Time of each trial: 90s, 10m, 1h30m."),
    settings: list[str] = typer.Option(
        [], "--set", help="Any other field, for all trials: batch_size=64, encoder=resnet18 ..."
    ),
    workers: int = typer.Option(None, min=1, help="Trials at the same time (default 1)."),
    engine: str = typer.Option("local", help="local: processes here | ray: a cluster."),
    address: str = typer.Option(None, help="Ray cluster; auto: the one this machine is in."),
    storage: str = typer.Option(
        None, help="sqlite:///FILE (default OUT/study.db) | postgresql://USER:PASSWORD@HOST/NAME"
    ),
    study: str = typer.Option(None, help="Name of the study (default METHOD-DATA)."),
    out: Path = typer.Option(None, "--out", "-o", help="Folder (default sweeps/STUDY)."),
    sampler: str = typer.Option(
        None, help="tpe | random | grid (default where --trials cover all combinations, else tpe)"
    ),
    seed: int = typer.Option(0, min=0, help="Of the sampler; of the runs: --set seed=1."),
    prune: bool = typer.Option(True, help="Stop bad and collapsed trials early."),
    heartbeat: int = typer.Option(
        15, min=1, help="Seconds between signs of life; after four missed ones a trial is retried."
    ),
    report: bool = typer.Option(True, help="Write each trial's own report too."),
) -> None:
    """Try many values of recipe fields; compare and choose without labels.

    [bold]Examples[/bold]

      tacit sweep simclr images:./photos --vary optimizer.lr=1e-3:1:log --epochs 20
      tacit sweep vicreg digits --vary batch_size=64,128,256 --vary lr=0.01:1:log --workers 2
      tacit sweep simclr cifar10 --vary temperature=0.1,0.2,0.5 --sampler grid --max-time 10m

    The same command continues a sweep, after Ctrl-C too.
    """
    import tacit
    from tacit.options import check_words, split_words

    given = {"epochs": epochs, "steps": steps, "max_time": max_time}
    options: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    options |= parse_settings(settings)
    chosen, source = split_words(*_in_order(method, data))
    check_words(chosen, source)
    result = tacit.sweep(
        chosen, source, vary=vary, trials=trials, objective=objective, workers=workers,
        engine=engine, address=address, storage=storage, study=study, out=out, sampler=sampler,
        sampler_seed=seed, prune=prune, heartbeat=heartbeat, report=report, **options,
    )  # fmt: skip
    _print(result)
    if not result.finished:
        typer.echo("Stopped; nothing is lost. The same command continues.", err=True)
        raise typer.Exit(130)


def _in_order(method: str | None, data: str | None) -> tuple[str | None, str | None]:
    """Method and data, whichever came first."""
    from tacit.data.spec import SPECS

    if data is not None and method is not None and method.partition(":")[0] in SPECS:
        return data, method
    return method, data


def _print(result: SweepResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from tacit.sweeps.page import near, text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "trial", "state", result.objective.name, *result.space, "health"):
        table.add_column(column, overflow="fold")
    for row in result.ranked:
        values: list[Any] = [row.value, *(row.values.get(name) for name in result.space)]
        cells = (*map(text, values), row.status.get("health") or "")
        table.add_row("*" if row.best else "", row.name, row.state, *cells)
    console = Console()
    console.print(table)
    if result.best:
        console.print(f"\n* chosen without labels: {result.best.name}", highlight=False)
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)
    typer.echo(f"report   {near(result.path / 'report.html')}")
    if result.best:
        typer.echo(f"next     tacit pretrain --recipe {near(result.path / 'best.yaml')}")
