"""tacit pretrain"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import typer

from tacit.errors import ConfigError
from tacit.untrusted import load_yaml


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`["temperature=0.2"]` -> `{"temperature": 0.2}`; values are read as YAML.

    >>> parse_settings(["views.area=[0.2, 1]"])
    {'views.area': [0.2, 1]}
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"--set takes NAME=VALUE, for instance temperature=0.2, not '{setting}'"
            )
        try:
            values[name.strip()] = load_yaml(text)
        except ValueError:
            raise ConfigError(f"--set {name}: '{text}' is not a value that YAML can read") from None
    return values


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(pretrain)


def pretrain(
    method: str = typer.Argument(
        None, help="Method, with its paper's recipe; left out: tacit's fast default."
    ),
    data: str = typer.Argument(
        None,
        help="photos | digits | cifar10[:PATH] | images:DIR | parquet:FILE | npz:FILE | hf:NAME | "
        "ucr:NAME | csv:FILE | edf:PATH | txt:PATH | ppg-ieee:FILE | planetoid:NAME@DIR | "
        "graph:FILE | tu:NAME | molecules:FILE | fmri:PATH",
    ),
    encoder: str = typer.Option(
        None,
        help="Images: small | resnet18/34/50 | vit_ti/s/b | timm:NAME | hf:NAME | monai:NAME; "
        "series: resnet1d | tcn | transformer | mamba | multiscale ...; "
        "graphs: gat | dotgat | gcn | gin | sage; fmri: gin.",
    ),
    epochs: float = typer.Option(None, help="Passes over the data."),
    steps: int = typer.Option(None, help="Optimiser steps."),
    max_time: str = typer.Option(
        None, help="Stop after this time, with the schedule fitted to it: 90s, 10m, 1h30m."
    ),
    batch_size: int = typer.Option(None, help="Samples per optimiser step."),
    effective_batch: int = typer.Option(
        None,
        help="Samples that the loss sees at once; the encoder reads --batch-size at a time "
        "(gradient caching: memory of the small batch, gradient of the large one).",
    ),
    accumulate: int = typer.Option(None, help="Micro-batches per optimiser step."),
    image_size: int = typer.Option(None, help="Side in pixels that images are decoded to."),
    views: str = typer.Option(
        None,
        help="Augmentation preset: simclr | byol | barlow | dino | moco | none ...; "
        "series: jitter-scale | crop | warp | mask ...",
    ),
    n_views: int = typer.Option(None, help="Views per sample, for multi-view methods."),
    optimizer: str = typer.Option(None, help="sgd | lars | adam | adamw | muon"),
    lr: float = typer.Option(None, help="Learning rate per 256 samples."),
    weight_decay: float = typer.Option(None, help="Weight decay of matrices."),
    seed: int = typer.Option(None, help="Seed of weights, order and views."),
    precision: str = typer.Option(None, help="auto | 32 | bf16"),
    devices: int = typer.Option(None, help="Processes on this machine."),
    nodes: int = typer.Option(None, help="Machines (start with torchrun or SLURM)."),
    strategy: str = typer.Option(
        None, help="ddp: a copy of the network in every process; fsdp: a part of it in each."
    ),
    sync_batchnorm: bool = typer.Option(
        False, "--sync-batchnorm", help="Batch norm over all processes' samples, not each's own."
    ),
    log: list[str] = typer.Option([], help="Also log to: wandb | mlflow."),
    strict: bool = typer.Option(False, "--strict", help="A corrupt file is an error."),
    settings: list[str] = typer.Option(
        [],
        "--set",
        help="Any other field: temperature=0.2, views.area=[0.2,1], schedule.warmup=0.1",
    ),
    recipe: Path = typer.Option(None, help="Replay a recipe.yaml."),
    resume: Path = typer.Option(None, help="Continue the run in this folder."),
    out: Path = typer.Option(None, "--out", "-o", help="Run folder (default runs/...)."),
    report: bool = typer.Option(True, help="Write report.html at the end."),
) -> None:
    """Train an encoder without labels.

    [bold]Examples[/bold]

      tacit pretrain                                   # real images, no download, minutes
      tacit pretrain images:./photos                   # tacit's own fast recipe on your images
      tacit pretrain dcl images:./photos --encoder resnet50 --epochs 100 --set temperature=0.2
      tacit pretrain byol cifar10:./cifar --max-time 10m
      tacit pretrain graphmae planetoid:cora           # the nodes of a graph
      tacit pretrain neuronet "edf:./nights#channels=Fpz-Cz"
      tacit pretrain --resume runs/byol-cifar-20260101-120000

    While it trains you see, without labels, whether it is learning (RankMe, collapse alarm).
    Ctrl-C saves a checkpoint and says how to resume.
    """
    import tacit
    from tacit.recipe import Recipe

    given: dict[str, Any] = {
        "encoder": encoder,
        "epochs": epochs,
        "steps": steps,
        "max_time": max_time,
        "batch_size": batch_size,
        "effective_batch": effective_batch,
        "accumulate": accumulate,
        "image_size": image_size,
        "views": views,
        "n_views": n_views,
        "optimizer": optimizer,
        "lr": lr,
        "weight_decay": weight_decay,
        "seed": seed,
        "precision": precision,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
        "sync_batchnorm": sync_batchnorm or None,
        "loggers": log or None,
        "strict": strict or None,
    }
    chosen = {k: v for k, v in given.items() if v is not None} | parse_settings(settings)
    if resume is not None:
        if method or data or recipe or chosen or out:
            raise ConfigError("--resume continues a run exactly as it was: give no other option.")
        run = tacit.load(resume).resume()
    elif recipe is not None:
        if method or data or chosen:
            raise ConfigError("--recipe replays a file as it is; edit the file to change it.")
        replay = Recipe.load(recipe)
        run = tacit.pretrain(replay.method, replay.data, recipe=replay, out=out)
    else:
        from tacit.options import split_words

        chosen_method, source = split_words(method, data)
        run = tacit.pretrain(chosen_method, source, out=out, **chosen)
    _finish(run, report)


def _finish(run: Any, report: bool) -> None:
    from tacit.training.launch import rank

    status = run.status
    if rank():  # the first process speaks for all
        raise typer.Exit(_code(status) if status["state"] == "interrupted" else 0)
    if status.get("health_message"):
        typer.echo(status["health_message"], err=True)
    if status["state"] == "interrupted":
        typer.echo(f"Stopped at step {status['step']}; nothing is lost. Continue with:", err=True)
        typer.echo(f"  tacit pretrain --resume {run.path}", err=True)
        raise typer.Exit(_code(status))
    if report:
        typer.echo(f"report   {run.report()}")
    typer.echo(f"run      {run.path}")
    typer.echo(f"next     tacit evaluate {run.path}   |   tacit embed {run.path} DATA -o FILE")


def _code(status: dict[str, Any]) -> int:
    """128 and the signal that stopped the run, as shells count: 130 Ctrl-C, 143 SIGTERM."""
    return 128 + (status.get("signal") or signal.SIGINT)
