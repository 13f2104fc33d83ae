"""tacit embed"""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(embed)


def embed(
    run: Path = typer.Argument(..., help="Run folder."),
    data: str = typer.Argument(..., help="images:DIR, cifar10, parquet:FILE ..."),
    out: Path = typer.Option(..., "--out", "-o", help="FILE.parquet or FILE.npy"),
    split: str = typer.Option("all", help="all | train | test"),
    batch_size: int = typer.Option(256, min=1, help="Samples a forward pass."),
    shard: int = typer.Option(
        None, min=1, help="Samples of one unit of work, after which it can resume (default 8192)."
    ),
    engine: str = typer.Option("local", help="local: this process | ray: worker processes."),
    workers: int = typer.Option(
        None, min=1, help="Workers of ray (default: one a GPU, else one a CPU)."
    ),
    address: str = typer.Option(
        None, help="Ray cluster, or 'auto' (default: a Ray on this machine for this command)."
    ),
) -> None:
    """Write the embeddings of a data source to one file.

    Streams in bounded memory; the same command continues after an interruption.

    [bold]Example[/bold]   tacit embed runs/simclr-photos images:./new -o new.parquet

      tacit embed RUN images:/shared/new -o new.parquet --engine ray --address auto
    """
    import tacit
    from tacit.embed_file import embed_to_file

    path = embed_to_file(
        tacit.load(run),
        data,
        out,
        split=split,  # type: ignore[arg-type]
        batch_size=batch_size,
        shard=shard,
        engine=engine,
        workers=workers,
        address=address,
    )
    typer.echo(f"{path}")
