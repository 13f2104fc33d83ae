"""metrics.csv: one row a log interval, safe to continue after a crash."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from tacit.errors import TacitError

MONITOR_COLUMNS = (
    "rankme",
    "stable_rank",
    "alpha_req",
    "feature_std",
    "uniformity",
    "total_variance",
    "width",
    "health",
)


class MetricsFile:
    """A CSV file whose columns are fixed by its first row; later rows fill the same columns."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path, self.columns = path, columns

    def truncate(self, step: int) -> None:
        """Drop rows beyond `step` (a resumed run writes them again) and a half-written last row."""
        if not self.path.is_file():
            return
        rows = _rows(self.path)
        if not rows:
            self.path.unlink()
            return
        self.columns = [name for name in rows[0] if name is not None]
        kept = [row for row in rows if _is_whole(row) and _step(row, self.path) <= step]
        temporary = self.path.with_suffix(".csv.tmp")
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; a value without a column is an error of the caller."""
        new = not self.path.is_file()
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            writer.writerow({key: _number(value) for key, value in row.items()})


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TacitError(
            f"'{path}' is damaged ({error}); repair the line, or delete the file: only its curves "
            "are lost."
        ) from error


def _step(row: dict[str, str], path: Path) -> int:
    try:
        return int(row["step"])
    except (KeyError, ValueError) as error:
        raise TacitError(
            f"'{path}' is damaged (a row has no whole number as its step); repair the line, or "
            "delete the file: only its curves are lost."
        ) from error


def _is_whole(row: dict[str, Any]) -> bool:
    return None not in row and all(value is not None for value in row.values())


def _number(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, float) else value


def read_metrics(path: Path) -> dict[str, list[Any]]:
    """Columns of a metrics.csv: numbers as floats, empty cells as None, words as they are."""
    if not path.is_file():
        return {}
    rows = [row for row in _rows(path) if _is_whole(row)]
    return {name: [_value(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _value(text: str) -> Any:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text
