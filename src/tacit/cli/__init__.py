"""The command line: one short file a verb; parses, calls the API, prints."""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import sys
import warnings
from types import FrameType

import typer

from tacit.errors import TacitError, out_of_memory
from tacit.untrusted import visible

# Before torch is imported: its C++ warnings are about its own interface, which users do not see.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

app = typer.Typer(
    name="tacit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Self-supervised representation learning that you can check.\n\n"
        "[bold]Start here:[/bold]  tacit pretrain   (real images, no download, minutes)\n\n"
        "  tacit pretrain simclr images:./photos --epochs 50\n\n"
        "  tacit runs   |   tacit evaluate RUN   |   tacit embed RUN images:./photos -o v.parquet"
    ),
)

VERBS = (
    "pretrain",
    "methods",
    "runs",
    "evaluate",
    "embed",
    "report",
    "compare",
    "criteria",
    "sweep",
    "export",
    "reproduce",
    "doctor",
)

for verb in VERBS:
    importlib.import_module(f"tacit.cli.{verb}").register(app)


class _Visible(logging.Formatter):
    """Names of files and classes are not ours: a terminal must not obey them."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), keep="\n\t")


class _Once(logging.Filter):
    """A message is shown once: data that are opened twice are not reported twice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.seen
        self.seen.add(text)
        return new


def _version(show: bool) -> None:
    if show:
        from tacit import __version__

        typer.echo(f"tacit {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Only warnings and results."),
) -> None:
    """Options of every verb."""
    level = logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Once())
    handler.setFormatter(_Visible("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("tacit").setLevel(level)
    # A user needs the text of a warning, not the line of code that it came from.
    warnings.showwarning = lambda message, *_: typer.secho(  # type: ignore[assignment]
        visible(f"warning: {message}", keep="\n\t"), fg=typer.colors.YELLOW, err=True
    )


def _terminate(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: what is open is closed and what is half-written removed."""
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point: a TacitError is a message and exit code 2, never a traceback.

    Stopped by Ctrl-C the exit code is 130, by SIGTERM 143.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path need not be valid text
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        app()
    except TacitError as error:
        if os.environ.get("TACIT_DEBUG"):
            raise
        typer.secho(visible(f"error: {error}", keep="\n\t"), fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
    except PermissionError as error:
        if os.environ.get("TACIT_DEBUG"):
            raise
        text = visible(f"error: {error.strerror}: '{error.filename}'.")
        typer.secho(text, fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if os.environ.get("TACIT_DEBUG") or not out_of_memory(error):
            raise
        why = (str(error) or "MemoryError").splitlines()[0]
        text = visible(f"error: Out of memory: use less data, smaller images or batches. ({why})")
        typer.secho(text, fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        typer.secho("stopped.", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        raise SystemExit(0) from None
