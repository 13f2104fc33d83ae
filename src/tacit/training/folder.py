"""The run folder: everything that a run is. Nothing else is state."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tacit.data.spec import short_name
from tacit.errors import TacitError
from tacit.recipe import Recipe
from tacit.training.machine import about_machine
from tacit.untrusted import read_json

TEMPORARY = (  # half-written files of `write_atomic`, the checkpoints, the encoder and the metrics
    *(f".{name}.*" for name in ("recipe.yaml", "status.json", "environment.json", "encoder")),
    *("checkpoints/.checksums.json.*", "checkpoints/.last.ckpt.tmp", "metrics.csv.tmp"),
)
STATUS: dict[str, tuple[type, ...]] = {  # what a status may hold under these names
    **dict.fromkeys(("step", "seconds", "rankme", "monitor_seconds", "updated"), (int, float)),
    **dict.fromkeys(("state", "health", "health_message", "error", "recipe"), (str,)),
    "skipped": (list,),  # of pairs of texts
}
MADE = ("checkpoints/*.ckpt", "metrics.csv", "encoder.safetensors")  # by training


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new content, never a part.

    What UTF-8 has no character for (a file name that is not text) is written as an escape.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise TacitError(f"Cannot write '{path}': {error.strerror}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class RunFolder:
    """Paths, status and lock of one run.

    `recipe.yaml`, `metrics.csv`, `checkpoints/last.ckpt`, `encoder.safetensors` + `encoder.json`,
    `report.html`, `environment.json`, `status.json`, TensorBoard events.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None
        self._own = False  # all that is in it is the run's

    @classmethod
    def create(cls, path: str | Path | None, method: str, data: str) -> RunFolder:
        """A new folder at `path`, or `runs/METHOD-DATA-TIME` below the current folder."""
        if path is not None and str(path) != str(path).encode("utf-8", "replace").decode("utf-8"):
            raise TacitError(f"The run folder '{path}' is not valid text (UTF-8). Rename it.")
        try:
            path = _default_folder(method, data) if path is None else Path(path)
            if path.exists() and not path.is_dir():
                raise TacitError(f"'{path}' is a file; a run needs a folder. Choose another --out.")
            if (path / "recipe.yaml").exists():
                raise TacitError(
                    f"'{path}' already holds a run. Continue it with `tacit pretrain --resume "
                    f"{path}` or choose another --out."
                )
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path)
            run._own = next(path.iterdir(), None) is None
        except OSError as error:
            where = path or "runs"
            raise TacitError(
                f"Cannot create the run folder '{where}': {error.strerror}."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run.

        Raises
        ------
        TacitError : there is no run at this path.
        """
        run = cls(path)
        if not run.recipe_path.is_file():
            raise TacitError(
                f"'{path}' is not a run folder (it has no recipe.yaml). `tacit runs` lists runs."
            )
        return run

    @property
    def worth_keeping(self) -> bool:
        """Whether training has made anything: a checkpoint, a row of metrics, an encoder."""
        return any(next(self.path.glob(pattern), None) for pattern in MADE)

    def remove_if_empty(self, failed: bool = False) -> None:
        """Leave nothing of a run that never began, or that failed with nothing worth keeping."""
        begun = self.recipe_path.is_file()
        useless = failed and self._own and not self.worth_keeping
        if self.is_locked() or (begun and not useless):
            return
        with contextlib.suppress(OSError):  # the user's own files stay; nothing was writable
            if begun:
                shutil.rmtree(self.path)
                return
            for name in ("status.json", ".lock"):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()

    recipe_path = property(lambda self: self.path / "recipe.yaml")
    metrics_path = property(lambda self: self.path / "metrics.csv")
    checkpoint_path = property(lambda self: self.path / "checkpoints" / "last.ckpt")
    status_path = property(lambda self: self.path / "status.json")
    report_path = property(lambda self: self.path / "report.html")

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run.

        Raises
        ------
        TacitError : it is not what the run wrote. ConfigError : it is no recipe.
        """
        recipe = Recipe.load(self.recipe_path)
        known = None
        with contextlib.suppress(TacitError):  # a damaged status is told where it is asked for
            known = read_json(self.status_path, "").get("recipe")
        if known not in (None, self._digest()):
            raise TacitError(
                f"'{self.recipe_path}' is damaged or was edited: it is not the recipe that the run "
                "was trained with. Restore it; to train another recipe, use "
                "`tacit pretrain --recipe FILE --out OTHER`."
            )
        return recipe

    def _digest(self) -> str:
        return hashlib.blake2b(self.recipe_path.read_bytes(), digest_size=16).hexdigest()

    def status(self) -> dict[str, Any]:
        """State (running, finished, interrupted, pruned, failed), step, seconds ...; {} before the
        start.

        A run that says it is running but whose lock is free was killed.
        """
        if not self.status_path.is_file():
            return {}
        advice = "delete it: only what it says is lost, not the run."
        status = read_json(self.status_path, advice)
        for name, kinds in STATUS.items():
            value = status.get(name)
            pairs = name != "skipped" or value is None or _are_pairs(value)
            if not (pairs and isinstance(value, (*kinds, type(None)))):
                raise TacitError(
                    f"'{self.status_path}' is damaged ({name} = {value!r:.80}); {advice}"
                )
        if status.get("state") == "running" and self._lock is None and not self.is_locked():
            status["state"] = "killed"
        return status

    def evaluation(self) -> dict[str, Any] | None:
        """The last labelled evaluation, None before the first.

        Raises
        ------
        TacitError : it is damaged.
        """
        path, advice = self.path / "evaluation.json", "delete it, and run `tacit evaluate` again."
        if not path.is_file():
            return None
        found = read_json(path, advice)
        rows = found.get("rows")
        good = isinstance(rows, dict) and all(
            isinstance(row, dict) and all(isinstance(v, int | float) for v in row.values())
            for row in rows.values()
        )
        if not good:
            raise TacitError(f"'{path}' is damaged (its rows are not numbers); {advice}")
        return found

    def set_status(self, state: str, **values: Any) -> None:
        """Record the state; earlier values stay where they are not given."""
        old = self.status() if self.status_path.is_file() else {}
        if self.recipe_path.is_file():
            old.setdefault("recipe", self._digest())
        new = {**old, "state": state, "updated": time.time(), **values}
        write_atomic(self.status_path, json.dumps(new, indent=2) + "\n")

    @property
    def locked(self) -> bool:
        """Whether this object holds the folder."""
        return self._lock is not None

    def is_locked(self) -> bool:
        """Whether a process is writing to this folder now."""
        try:
            with open(self.path / ".lock", "a+") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def lock(self) -> None:
        """Hold the folder for this process until `unlock` or the end of the process.

        Raises
        ------
        TacitError : another process holds it.
        """
        lock = open(self.path / ".lock", "a+")  # noqa: SIM115 - held beyond this call
        while self._lock is None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
            except BlockingIOError:
                if self.is_locked():
                    lock.close()
                    raise TacitError(
                        f"Another process is training in '{self.path}'. Wait for it, stop it, or "
                        "choose another --out."
                    ) from None
                time.sleep(0.01)  # somebody only has a look at it

    def sweep(self) -> None:
        """Remove what a killed process was writing; only for who holds the lock."""
        for pattern in TEMPORARY:
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_environment(self, seed: int) -> None:
        """`environment.json`: what is needed to repeat the run elsewhere."""
        about = json.dumps(about_machine(seed), indent=2)
        write_atomic(self.path / "environment.json", about + "\n")


def _default_folder(method: str, data: str) -> Path:
    """A new folder `runs/METHOD-DATA-TIME`; runs that begin in one second get one each."""
    stem = re.sub(r"[^\w .+=@,~-]|[\ud800-\udfff]", "_", short_name(data)) or "data"
    base = Path("runs") / f"{method}-{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    path, i = base, 2
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not path.is_dir():  # what stands in the way is not a run
                raise
            path, i = base.with_name(f"{base.name}-{i}"), i + 1


def _are_pairs(value: Any) -> bool:
    """Whether it is a list of (what, why)."""
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in value
    )
