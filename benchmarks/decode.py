"""Decode-and-cache against a loop over the files with Pillow, and start-up of the cached data.

    python -m benchmarks.decode [--quick]

Generated photographs (smooth noise, 400 x 300, JPEG quality 90) in a temporary folder, decoded to
96 pixels. "cold" decodes and writes the cache, "warm" opens it; both then read every image once in
batches. The loop opens, crops to the centre square and resizes each file with Pillow, as a data
loader does in every epoch. Wall-clock seconds, since files are read; the median of interleaved
repetitions.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import interleaved, median, ratio
from tacit.data import open_source

COUNT, SIDE, BATCH, REPETITIONS = 2000, 96, 256, 3


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files with the spectrum of photographs, more or less."""
    rng, files = np.random.default_rng(0), []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((400, 300), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = smooth + rng.integers(-8, 9, smooth.shape)
        files.append(folder / f"{i:05d}.jpg")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def loop(files: list[Path]) -> None:
    """The usual pipeline: file by file."""
    for start in range(0, len(files), BATCH):
        batch = []
        for file in files[start : start + BATCH]:
            with Image.open(file) as image:
                picture = image.convert("RGB")
            side = min(picture.size)
            left, top = (picture.width - side) / 2, (picture.height - side) / 2
            box = (left, top, left + side, top + side)
            small = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)
            batch.append(np.asarray(small).transpose(2, 0, 1))
        torch.from_numpy(np.stack(batch))


def read(folder: Path, cache: Path) -> None:
    """The same images with tacit."""
    source = open_source(f"images:{folder}", image_size=SIDE, cache_dir=cache, progress=False)
    for start in range(0, len(source), BATCH):
        source.batch(np.arange(start, min(start + BATCH, len(source))))


def main(quick: bool = False) -> dict[str, Any]:
    """Print the table and return it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "images").mkdir()
        files = photographs(root / "images", 24 if quick else COUNT)
        cache = root / "cache"

        def cold() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            read(root / "images", cache)

        works = {
            "Pillow, file by file": lambda: loop(files),
            "tacit, cold": cold,
            "tacit, warm": lambda: read(root / "images", cache),
        }
        times = interleaved(works, 1 if quick else REPETITIONS, time.perf_counter)
    print("| way | s | images/s | faster than Pillow by |\n| --- | ---: | ---: | ---: |")
    out: dict[str, Any] = {}
    for way, taken in times.items():
        faster = ratio(times["Pillow, file by file"], taken)
        out[way] = {"seconds": median(taken), "ratio": faster}
        rate = len(files) / median(taken)
        print(f"| {way} | {median(taken):.2f} | {rate:,.0f} | {faster:.1f} |")
    return {"ways": out, "images": len(files), "targets": []}


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
