"""Where a study is kept: an SQLite file by default, PostgreSQL or another database by URL."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.errors import ConfigError, MissingExtraError, TacitError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

RETRIES = 3  # of a trial whose worker was killed
GRACE = 4  # heartbeats that may be missing before a worker counts as killed
PATIENCE = 60  # seconds that a writer waits for the other writers of an SQLite file


def require_optuna() -> None:
    """Raise MissingExtraError where the sweep's packages are not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("optuna", "sweep", "A sweep") from error


def storage_url(text: str | None, out: Path) -> str:
    """A URL that SQLAlchemy understands; files get an absolute path, for workers elsewhere.

    Raises
    ------
    ConfigError : not a URL, or an SQLite database in memory, which no other process sees.

    >>> storage_url("postgresql://me@host/db", Path("x"))
    'postgresql+psycopg://me@host/db'
    """
    if text is None:
        return f"sqlite:///{out.absolute() / 'study.db'}"
    kind, separator, rest = text.partition("://")
    if not separator:
        raise ConfigError(
            f"--storage '{text}' is not a URL. Write sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    if kind in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    if kind == "sqlite":
        file = rest.removeprefix("/")
        if not file or file.startswith(":memory:"):
            raise ConfigError("--storage: a study needs an SQLite file, not one in memory.")
        return f"sqlite:///{Path(file).absolute()}"
    return text


def without_password(url: str) -> str:
    """A URL that may be shown.

    >>> without_password("postgresql+psycopg://me:secret@host/db")
    'postgresql+psycopg://me:***@host/db'
    >>> without_password("mysql://me:p@ss/word@host/db")
    'mysql://me:***@host/db'
    """
    return re.sub(r"(://[^/@]*?:).*@", r"\1***@", url)


def _connection(url: str) -> dict[str, Any]:
    """What a driver needs to be told."""
    if url.startswith("sqlite"):
        return {"timeout": PATIENCE}
    # Without it, psycopg gives bytes for the texts of a database without an encoding.
    return {"client_encoding": "utf8"} if "+psycopg:" in url else {}


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """Connect; trials that miss heartbeats are queued again, `RETRIES` times at most.

    Parameters
    ----------
    url : of `storage_url`.
    heartbeat : seconds between two signs of life of a trial.

    Raises
    ------
    TacitError : there is no such database, or it cannot be reached.
    """
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import SQLAlchemyError

    file = url.removeprefix("sqlite:///") if url.startswith("sqlite") else None
    try:
        if file is not None:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "heartbeat is experimental"
            return RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True, "connect_args": _connection(url)},
                heartbeat_interval=heartbeat,
                grace_period=GRACE * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                    RETRIES, inherit_intermediate_values=True
                ),
            )
    except ImportError as error:
        if url.startswith("postgresql+psycopg:"):
            raise MissingExtraError("psycopg", "sweep", "PostgreSQL") from error
        raise TacitError(
            f"The driver of '{without_password(url)}' is not installed ({error}). Install it, or "
            "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from error
    except (SQLAlchemyError, OSError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise TacitError(
            f"The study's storage '{without_password(url)}' cannot be used: {reason}"
        ) from None
