"""tacit evaluate"""

from __future__ import annotations

from pathlib import Path

import typer

from tacit.errors import DataError, TacitError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(evaluate)


def evaluate(
    run: Path = typer.Argument(..., help="Run folder."),
    probe: list[str] = typer.Option(
        ["knn", "linear"],
        help="knn | linear | few-shot | retrieval | svm; staging, for epochs of recordings: "
        "accuracy, macro-F1, kappa and hypnograms. May be repeated.",
    ),
    data: str = typer.Option(None, help="Labelled data (default: the run's own)."),
    train_samples: int = typer.Option(
        None, min=1, help="Use so many training samples (default all)."
    ),
    test_samples: int = typer.Option(None, min=1, help="Use so many test samples (default all)."),
    baselines: bool = typer.Option(
        True, help="Also evaluate raw features (pixels, values ...) and an untrained encoder."
    ),
) -> None:
    """Labelled protocols on the frozen encoder, beside raw features and an untrained encoder.

    [bold]Examples[/bold]

      tacit evaluate runs/simclr-photos-20260101-120000 --probe knn
      tacit evaluate runs/neuronet-nights --probe staging --data edf:./nights
    """
    from rich.console import Console
    from rich.table import Table

    import tacit
    from tacit.evaluation import check_protocols
    from tacit.evaluation.protocols import STAGING
    from tacit.labelled import HYPNOGRAMS

    try:
        check_protocols(probe)
        rows = tacit.load(run).evaluate(
            probe,
            data=data,
            train_samples=train_samples,
            test_samples=test_samples,
            baselines=baselines,
        )
    except TacitError:
        raise
    except ValueError as error:
        raise DataError(f"'{run}' cannot be evaluated: {error}") from error
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric")
    for name in rows:
        table.add_column(name, justify="right")
    for metric in rows["encoder"]:
        table.add_row(metric, *(f"{values[metric]:.4f}" for values in rows.values()))
    Console().print(table)
    if STAGING in probe:
        typer.echo(f"hypnograms   {run / HYPNOGRAMS}")
