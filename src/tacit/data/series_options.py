"""The options of series specs: what may follow the ``#``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from tacit.data.series import Constant
from tacit.errors import DataError, did_you_mean

Missing = Literal["error", "interpolate", "drop"]
Unequal = Literal["error", "pad", "crop", "interpolate"]


@dataclass(frozen=True)
class SeriesOptions:
    """What may follow ``#`` in a spec of series, as ``name=value,name=value``.

    rate : samples a second (Hz). Where the file says its own, another value is an error.
    resample : bring recordings of a known rate to this one (polyphase filter).
    window, stride : cut recordings into windows, in samples (``200``) or seconds (``8s``); the
        stride is the window by default. The rest at the end is left out.
    missing : NaN and infinite values are an "error", are replaced by "interpolate" (linear in
        time, the nearest value at the ends), or their windows are left out with "drop".
    unequal : series of different lengths are an "error"; "pad" repeats the last value up to the
        longest, "crop" keeps the first values down to the shortest, "interpolate" stretches all to
        the longest. With `length` they are brought to that length instead.
    length : the length T of all series; says with `unequal` ("pad" or "crop" by default, as needed)
        how those of another one get there.
    constant : series constant on every channel are an "error", left out with "drop", or kept with
        "keep".
    scale : "median" divides every channel of a recording by the median of its absolute deviations
        from its median, after taking that median away; "none" leaves the unit as it is.
    """

    rate: float | None = None
    resample: float | None = None
    window: str | None = None
    stride: str | None = None
    missing: Missing = "error"
    unequal: Unequal = "error"
    length: int | None = None
    constant: Constant = "error"
    scale: Literal["none", "median"] = "none"


CHOICES: dict[str, tuple[str, ...]] = {
    "missing": get_args(Missing),
    "unequal": get_args(Unequal),
    "constant": get_args(Constant),
    "scale": ("none", "median"),
}


def split_spec(
    argument: str, spec: str, *, own: tuple[str, ...] = ()
) -> tuple[str, SeriesOptions, dict[str, str]]:
    """``FILE#name=value,...`` -> FILE, the common options, and those of `own` names.

    Raises
    ------
    DataError : not of that form, an unknown option (with a suggestion), or an invalid value.

    >>> split_spec("x.csv#window=8s,rate=25,id=case", "csv", own=("id",))[0::2]
    ('x.csv', {'id': 'case'})
    """
    file, _, fragment = argument.partition("#")
    common: dict[str, Any] = {}
    other: dict[str, str] = {}
    known = [f.name for f in fields(SeriesOptions)]
    for part in fragment.split(",") if fragment else ():
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise DataError(f"'#{fragment}' of {spec} is not of the form #name=value,name=value.")
        if name in own:
            other[name] = value
        elif name in known:
            common[name] = _value(name, value, spec)
        else:
            allowed = [*own, *known]
            raise DataError(
                f"{spec} has no option '{name}'.{did_you_mean(name, allowed)} "
                f"Options: {', '.join(allowed)}."
            )
    return file, SeriesOptions(**common), other


def _value(name: str, value: str, spec: str) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise DataError(
                f"{spec}: {name}={value} is not one of {', '.join(CHOICES[name])}."
                f"{did_you_mean(value, CHOICES[name])}"
            )
        return value
    if name in ("window", "stride"):
        return value
    try:
        number = int(value) if name == "length" else float(value)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise DataError(f"{spec}: {name}={value} is not a number above 0.")
    return number


def samples(text: str, rate: float | None, name: str, option: str) -> int:
    """``200`` or ``8s`` in samples.

    >>> samples("8s", 25.0, "x", "window")
    200
    """
    seconds = text.endswith("s")
    if seconds and rate is None:
        raise DataError(f"{name}: {option}={text} needs the sampling rate; give it with rate=HZ.")
    try:
        number = float(text.removesuffix("s")) * (rate or 1.0 if seconds else 1.0)
    except ValueError:
        number = 0
    count = round(number)
    if count < 1 or abs(count - number) > 1e-6 * count:
        raise DataError(
            f"{name}: {option}={text} is not a whole number of samples (200) or of seconds (8s)"
            + (f" at {rate:g} Hz." if seconds else ".")
        )
    return count
