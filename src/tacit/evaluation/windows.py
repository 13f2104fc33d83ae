"""Windows of consecutive epochs of a recording, and one result an epoch from many windows."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tacit.errors import DataError


def context_windows(
    n: int, length: int = 20, step: int = 10, *, short: Literal["pad", "skip", "error"] = "pad"
) -> Int[Tensor, "windows length"]:
    """Positions of windows of `length` epochs, one every `step`, and always the last `length`.

    Every epoch is in at least one window as long as step <= length. Where the last regular window
    already ends at the end, it is there twice, as in the official code; `merge_windows` gives one
    result an epoch.

    Parameters
    ----------
    n : epochs of the recording.
    length, step : of the windows; the paper trains with 20 and 10, tests with 20 and 20.
    short : of a recording with fewer than `length` epochs: "pad" its one window with -1 at the
        end, "skip" it (no window), or "error".

    Raises
    ------
    ValueError : a number below 1, or step > length (epochs would be left out).
    DataError : the recording is too short and `short` is "error".

    References
    ----------
    Lee et al., "NeuroNet", 2024, and its official code.

    >>> context_windows(7, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4],
            [4, 5, 6],
            [4, 5, 6]])
    >>> context_windows(2, 3, 2)
    tensor([[ 0,  1, -1]])
    """
    if min(n, length, step) < 1 or step > length:
        raise ValueError(
            f"windows need n, length and step of at least 1 and step <= length, got n={n}, "
            f"length={length}, step={step}"
        )
    if n > length:
        starts = [*range(0, n - length + 1, step), n - length]
        return torch.tensor(starts)[:, None] + torch.arange(length)
    row = torch.arange(length)[None]
    if n == length:
        return row
    if short == "error":
        raise DataError(
            f"a recording of {n} epochs is shorter than the window of {length}; use a shorter "
            "window, or short='pad'"
        )
    if short not in ("pad", "skip"):
        raise ValueError(f"short must be 'pad', 'skip' or 'error', got {short!r}")
    return torch.where(row < n, row, -1) if short == "pad" else row[:0]


def merge_windows(
    scores: Float[Tensor, "windows length classes"],
    windows: Int[Tensor, "windows length"],
    n: int,
) -> Float[Tensor, "n classes"]:
    """The mean score of every epoch over the windows that it is in.

    Parameters
    ----------
    scores : of every position of every window; probabilities, usually.
    windows : positions in the recording, -1 for padding.
    n : epochs of the recording.

    Raises
    ------
    ValueError : an epoch is in no window, or shapes differ.

    >>> windows = torch.tensor([[0, 1], [1, 2]])
    >>> merge_windows(torch.tensor([[[1.0], [2.0]], [[4.0], [5.0]]]), windows, 3).flatten()
    tensor([1., 3., 5.])
    """
    if scores.shape[:2] != windows.shape:
        raise ValueError(
            f"scores {tuple(scores.shape)} and windows {tuple(windows.shape)} do not fit"
        )
    real = windows >= 0
    index = windows[real].to(scores.device)
    count = torch.zeros(n, device=scores.device).index_add(
        0, index, torch.ones(len(index), device=scores.device)
    )
    if bool((count == 0).any()):
        raise ValueError(f"epoch {int((count == 0).nonzero()[0])} is in no window")
    total = scores.new_zeros(n, scores.shape[2]).index_add(0, index, scores[real])
    return total / count[:, None].to(scores.dtype)
