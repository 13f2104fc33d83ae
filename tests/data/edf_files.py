"""Writes EDF and EDF+ files, so that reading them can be tested without a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_edf(
    path: Path,
    signals: dict[str, np.ndarray],
    rate: int,
    *,
    notes: list[tuple[float, float, str]] | None = None,
    patient: str = "X X X X",
    amplitude: float = 500.0,
) -> Path:
    """Signals in microvolts as an EDF+ file with records of one second, and annotations.

    Parameters
    ----------
    path : of the file.
    signals : name -> (samples,) a whole number of seconds.
    rate : samples a second.
    notes : (onset, duration, text) in seconds; all are kept in the first record.
    patient : the header's patient field.
    amplitude : largest value, microvolts.
    """
    seconds = len(next(iter(signals.values()))) // rate if signals else 1
    parts = [f"+{o:g}\x15{d:g}\x14{text}\x14\x00" for o, d, text in notes or []]
    texts = [f"+{second}\x14\x14\x00" for second in range(seconds)]
    texts[0] += "".join(parts)
    width = max(2 * rate, max(map(len, texts)) + 2) // 2 * 2
    labels = [*signals, "EDF Annotations"]
    count = len(labels)
    sizes = [rate] * len(signals) + [width // 2]
    limits = [amplitude] * len(signals) + [1.0]

    def each(values: list[object], length: int) -> str:
        return "".join(str(value).ljust(length) for value in values)

    header = (
        "0".ljust(8)
        + patient.ljust(80)
        + "Startdate 01-JAN-2020 X X X".ljust(80)
        + "01.01.20"
        + "22.00.00"
        + str(256 * (count + 1)).ljust(8)
        + "EDF+C".ljust(44)
        + str(seconds).ljust(8)
        + "1".ljust(8)
        + str(count).ljust(4)
        + each(labels, 16)
        + " " * 80 * count
        + each(["uV"] * len(signals) + [""], 8)
        + each([f"{-limit:g}" for limit in limits], 8)
        + each([f"{limit:g}" for limit in limits], 8)
        + each([-32768] * count, 8)
        + each([32767] * count, 8)
        + " " * 80 * count
        + each(sizes, 8)
        + " " * 32 * count
    )
    body = b""
    for second in range(seconds):
        for values in signals.values():
            part = values[second * rate : (second + 1) * rate]
            digital = np.rint((part + amplitude) / (2 * amplitude) * 65535 - 32768)
            body += digital.clip(-32768, 32767).astype("<i2").tobytes()
        body += texts[second].encode().ljust(width, b"\x00")
    path.write_bytes(header.encode("ascii") + body)
    return path
