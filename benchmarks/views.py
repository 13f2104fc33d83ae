"""Views per second and core: tacit against kornia and a per-image PIL pipeline.

    python -m benchmarks.views [--quick] [--device cuda]

All make the SimCLR views (crop, mirror, jitter with hue, greyscale; blur above 32 pixels) of the
same images, in one process on one thread, interleaved; the median of the repetitions is printed.
"tacit, fused" is after `Views.fuse`: with numba, each view of at most 64 pixels in one pass.
kornia is batched too, without antialiasing, as it ships; PIL goes image by image.
"""

from __future__ import annotations

import copy
import json
import math
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.measure import MISSING, installed, interleaved, median, ratio, target
from tacit.views import build_views

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CASES = {32: (32, 256), 96: (128, 64), 224: (256, 32)}  # view side: (image side, batch)
REPETITIONS = 7
TARGETS = {32: 15, 224: 2}  # times PIL
WHY = "without numba (the extra fast) each operation reads and writes all pixels of the batch"


def pil_view(image: Image.Image, side: int, rng: random.Random) -> np.ndarray:
    """One SimCLR view with PIL's own operations, as float32 (3, side, side), normalised."""
    width, height = image.size
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    view = image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.8:
        order = [0, 1, 2, 3]
        rng.shuffle(order)
        for operation in order:
            if operation == 3:
                hue, saturation, value = view.convert("HSV").split()
                shift = round(rng.uniform(-0.2, 0.2) * 255)
                turned = (np.asarray(hue).astype(np.int16) + shift).astype(np.uint8)
                bands = (Image.fromarray(turned, "L"), saturation, value)
                view = Image.merge("HSV", bands).convert("RGB")
            else:
                enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
                view = enhance[operation](view).enhance(rng.uniform(0.2, 1.8))
    if rng.random() < 0.2:
        view = view.convert("L").convert("RGB")
    if side > 32 and rng.random() < 0.5:
        view = view.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    array = np.asarray(view, np.float32) / 255
    return ((array - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def kornia_views(side: int) -> torch.nn.Module:
    """The same operations with kornia, one call a batch."""
    import kornia.augmentation as K

    kernel = max(3, int(0.1 * side) // 2 * 2 + 1)
    blur = [K.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5)] if side > 32 else []
    return torch.nn.Sequential(
        K.RandomResizedCrop((side, side), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        *blur,
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def case(side: int, device: str, quick: bool) -> dict[str, Any]:
    """Views per second of every pipeline at one view size."""
    image_side, batch = CASES[side]
    batch = 4 if quick else batch if device == "cpu" else 256
    generator = torch.Generator().manual_seed(0)
    # smooth images: the operations cost the same, and hue is defined everywhere
    coarse = torch.rand(batch, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (image_side, image_side), mode="bilinear")
    raw = (images * 255).to(torch.uint8)
    pictures = [Image.fromarray(x.permute(1, 2, 0).numpy(), "RGB") for x in raw]
    views = build_views("simclr", image_size=side, channels=3, mean=MEAN, std=STD).to(device)
    rng = random.Random(0)
    raw = raw.to(device)

    def finished(make: Callable[[], object]) -> Callable[[], object]:
        return lambda: (make(), torch.cuda.synchronize()) if device == "cuda" else make()

    works = {"tacit": finished(lambda: views(raw, generator))}
    fused = copy.deepcopy(views)
    if device == "cpu" and fused.fuse():
        works["tacit, fused"] = lambda: fused(raw, generator)
    if installed("kornia"):
        theirs = kornia_views(side).to(device)
        works["kornia"] = finished(lambda: [theirs(raw.float() / 255) for _ in range(2)])
    if device == "cpu":
        works["PIL"] = lambda: [np.stack([pil_view(p, side, rng) for p in pictures]) for _ in "12"]
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = interleaved(works, 1 if quick else REPETITIONS, clock)
    best = times.get("tacit, fused", times["tacit"])
    return {
        name: {"views": 2 * batch / median(taken), "ratio": ratio(taken, best)}
        for name, taken in times.items()
    }


def main(quick: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Print the table and return it."""
    torch.set_num_threads(1)
    print("| view side | pipeline | views/s | tacit (fused, if it is there) is faster by |")
    print("| ---: | --- | ---: | ---: |")
    results = {}
    for side in (32,) if quick else CASES:
        results[side] = case(side, device, quick)
        for name, row in results[side].items():
            faster = "" if row["ratio"] == 1 else f"{row['ratio']:.1f}"
            print(f"| {side} | {name} | {row['views']:,.0f} | {faster} |", flush=True)
        if "kornia" not in results[side]:
            print(f"| {side} | kornia | {MISSING} | |")
    targets = []
    for side, least in TARGETS.items() if device == "cpu" else ():
        if side in results:
            value = results[side]["PIL"]["ratio"]
            why = "" if "tacit, fused" in results[side] else WHY
            targets.append(
                target(f"views, {side} px", f">= {least} x PIL", value, value >= least, why)
            )
    return {"sides": results, "targets": targets}


if __name__ == "__main__":
    print(json.dumps(main("--quick" in sys.argv, "cuda" if "cuda" in sys.argv else "cpu")))
