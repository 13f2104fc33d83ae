"""Times in a table of series: evenly spaced, of one step, and the rate that they mean."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tacit.errors import DataError

TOLERANCE = 0.01  # of a step
MICRO = 1e6


def read_times(table: pa.Table, column: str, name: str) -> np.ndarray:
    """A column of times as numbers; dates in microseconds."""
    values = table[column]
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us")).cast(pa.int64())
    elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise DataError(
            f"{name}: times in column '{column}' must be numbers or dates with times, not "
            f"{values.type}."
        )
    if values.null_count:
        raise DataError(f"{name}: column '{column}' has rows without a time.")
    return values.cast(pa.float64(), safe=False).to_numpy().astype(float)


def one_step(steps: list[float], column: str, name: str) -> float | None:
    """The step of all series; they must have been sampled alike."""
    if not steps:
        return None
    usual = float(np.median(steps))
    if max(abs(step - usual) for step in steps) > TOLERANCE * usual:
        raise DataError(
            f"{name}: the times in '{column}' have steps of {min(steps):g} to {max(steps):g}: its "
            "series have different sampling rates. Bring them to one rate, or leave out the column."
        )
    return usual


def rate_of(step: float | None, dates: bool, given: float | None, what: str) -> float | None:
    """Samples a second by dates; numbers of unknown unit must only not contradict what is given."""
    if step is None:
        return None
    if dates:
        found = MICRO / step  # `read_times` counts microseconds
        return given if given and abs(found - given) <= TOLERANCE * found else found
    units = (1.0, 1e-3, 1e-6, 1e-9)
    fits = any(abs(given * step * unit - 1) <= TOLERANCE for unit in units) if given else True
    if not fits and step != 1:
        raise DataError(
            f"{what} has steps of {step:g}, which is {1 / step:g} Hz if they are seconds; that "
            f"does not fit rate={given:g}, nor as milliseconds. Correct one of them."
        )
    return None


def even_step(time: np.ndarray, column: str, what: str) -> list[float]:
    """The usual step; gaps, doubles and irregular sampling are refused: methods think in samples.

    Nothing where there is one time only, or no column of times.
    """
    steps = np.diff(time)
    if not column or len(steps) == 0:
        return []
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > TOLERANCE * abs(usual))
    if usual <= 0 or len(uneven):
        at = time[int(uneven[0])] if len(uneven) else time[0]
        raise DataError(
            f"{what}: the times in '{column}' are not evenly spaced (first at {at:g}): a gap, a "
            "double row or irregular sampling. Bring the series to one rate, with empty cells "
            "where values are missing."
        )
    return [usual]
