"""Views per second and core: tacit's batched transforms against a per-image PIL pipeline.

    python -m benchmarks.views

Both make the SimCLR views (crop, mirror, jitter with hue, greyscale; blur above 32 pixels) of the
same images, in one process on one thread, interleaved; the median of the repetitions is printed.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from tacit.views import build_views

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CASES = {32: (32, 256), 96: (128, 64), 224: (256, 32)}  # view side: (image side, batch)
REPETITIONS = 7


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


def seconds(function: Callable[[], object]) -> float:
    """Processor time of one call, so that other work on the machine does not count."""
    start = time.process_time()
    function()
    return time.process_time() - start


def case(side: int) -> dict[str, float]:
    """Views per second of both pipelines at one view size."""
    image_side, batch = CASES[side]
    generator = torch.Generator().manual_seed(0)
    # smooth images: the operations cost the same, and hue is defined everywhere
    coarse = torch.rand(batch, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (image_side, image_side), mode="bilinear")
    raw = (images * 255).to(torch.uint8)
    pictures = [Image.fromarray(x.permute(1, 2, 0).numpy(), "RGB") for x in raw]
    views = build_views("simclr", image_size=side, channels=3, mean=MEAN, std=STD)
    rng = random.Random(0)

    def ours() -> object:
        return views(raw, generator)

    def theirs() -> object:
        return [np.stack([pil_view(p, side, rng) for p in pictures]) for _ in range(2)]

    ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(REPETITIONS)]
    tacit, pil = (statistics.median(column) for column in zip(*times))
    ratio = statistics.median(b / a for a, b in times)
    return {"tacit": 2 * batch / tacit, "pil": 2 * batch / pil, "ratio": ratio}


def main() -> dict[int, dict[str, float]]:
    """Print the table and return it."""
    torch.set_num_threads(1)
    results = {side: case(side) for side in CASES}
    print("| view side | tacit, views/s | PIL, views/s | ratio |\n| ---: | ---: | ---: | ---: |")
    for side, row in results.items():
        print(f"| {side} | {row['tacit']:,.0f} | {row['pil']:,.0f} | {row['ratio']:.1f} |")
    print(json.dumps(results))
    return results


if __name__ == "__main__":
    main()
