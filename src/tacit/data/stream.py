"""Decoding in parallel: in order over everything, or on the fly for a batch.

Threads, not processes: Pillow releases the interpreter lock while it decodes and resamples, and
threads need no guard in the user's script and no copies between processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tacit.data.decode import Plan, Undecodable, decode
from tacit.data.encoded import Encoded
from tacit.errors import DataError

CHUNK_BYTES = 16 * 2**20  # decoded bytes of one task
CHUNK_ITEMS = 256


def workers() -> int:
    """Decoding threads: the processor cores this process may use, at most 32."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(32, cores or 1))


def decode_items(
    encoded: Encoded, plan: Plan, items: Sequence[int]
) -> tuple[np.ndarray, list[int], list[tuple[int, str]]]:
    """Decode some items: the pixels of the good ones, which they are, and (item, reason) of bad."""
    pixels = np.empty((len(items), *plan.shape), np.uint8)
    good: list[int] = []
    bad: list[tuple[int, str]] = []
    for item, data in zip(items, encoded.read(items), strict=True):
        if isinstance(data, Exception):
            bad.append((item, f"cannot be read ({data})"))
            continue
        try:
            pixels[len(good)] = decode(data, plan)
            good.append(item)
        except Undecodable as error:
            bad.append((item, str(error)))
    return pixels[: len(good)], good, bad


def decode_in_order(
    encoded: Encoded, plan: Plan, advance: Callable[[int], None]
) -> Iterator[tuple[np.ndarray, list[int], list[tuple[int, str]]]]:
    """`decode_items` over the whole source, chunk after chunk, with bounded memory."""
    per_image = int(np.prod(plan.shape))
    size = max(1, min(CHUNK_ITEMS, CHUNK_BYTES // per_image))
    starts = iter(range(0, len(encoded), size))
    threads = workers()
    pending: deque[Future[tuple[np.ndarray, list[int], list[tuple[int, str]]]]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="tacit-decode")
    try:
        for start in starts:
            items = range(start, min(start + size, len(encoded)))
            pending.append(executor.submit(decode_items, encoded, plan, items))
            if len(pending) > 2 * threads:
                chunk = pending.popleft().result()
                advance(len(chunk[1]) + len(chunk[2]))
                yield chunk
        while pending:
            chunk = pending.popleft().result()
            advance(len(chunk[1]) + len(chunk[2]))
            yield chunk
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class StreamPixels:
    """Images decoded when they are asked for; the same pixels as the cache would give."""

    def __init__(self, encoded: Encoded, plan: Plan, kept: np.ndarray) -> None:
        self.shape = plan.shape
        self._encoded, self._plan, self._kept = encoded, plan, kept
        self._executor: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_executor": None}  # threads do not travel to other processes

    def read(self, rows: np.ndarray) -> np.ndarray:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(workers(), thread_name_prefix="tacit-stream")
        parts = np.array_split(self._kept[rows], min(workers(), max(len(rows), 1)))
        pixels = list(self._executor.map(self._decode, parts))
        return np.concatenate(pixels)

    def _decode(self, items: np.ndarray) -> np.ndarray:
        pixels, _, bad = decode_items(self._encoded, self._plan, items.tolist())
        if bad:
            item, reason = bad[0]
            raise DataError(
                f"{self._encoded.name}: '{self._encoded.items[item]}' was readable when the source "
                f"was opened and is not any more: {reason}. Open the source again."
            )
        return pixels
