"""The training step: tacit's default against plain float32, and where its time goes.

    python -m benchmarks.step [--quick] [--device cuda]

SimCLR, two views a sample. "default" is what a recipe resolves to on this machine (precision and
memory format); "plain" is float32 (without TF32), contiguous. Both run the loss, its gradient and
the optimiser on the same views. The peak is that of a square matrix product in the default
precision on the same thread; a batch that does not fit half of the free memory is halved. On a GPU
the default is compiled (`compile: true`) and uses kernels that repeat, as the trainer does;
images/s without compiling are in a column of their own, and the shares are those of the clock.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import free_mib, interleaved, median, ratio, seconds, target
from tacit.data import open_source
from tacit.evaluation.criteria import online_criteria
from tacit.losses import nt_xent_loss
from tacit.methods.base import Batch, Method
from tacit.methods.contrastive.simclr import SimCLR
from tacit.modalities import modality
from tacit.repeatable import repeatable
from tacit.training.build import build_method, compile_networks
from tacit.training.module import _not_finite
from tacit.training.monitor import evaluating
from tacit.training.optim import build_optimizer
from tacit.training.resolve import resolve

# name of the encoder, side of the views, samples a step
CASES = (("resnet18", 32, 256), ("resnet18", 224, 32), ("vit_s", 224, 32), ("vit_s", 32, 256))
CUDA_CASES = (("resnet50", 224, 256), ("vit_s", 224, 256))
SAMPLE_MIB = {
    32: 40,
    224: 120,
}  # a plain step's memory, by side; a batch takes half of what is free
QUICK = (("small", 32, 4),)
REPETITIONS = 3
WHY = {
    "step": "the products take half of the time in bf16; activations, normalisation, casts and "
    "sums, which are bound by memory, do not",
    "rest": "the network is small at this size, so that the views weigh more",
    "monitor": "the interval assumes a step of three forward passes",
}


class Step:
    """One training step in one configuration."""

    def __init__(self, name: str, side: int, batch: int, device: str, plain: bool) -> None:
        rng = np.random.default_rng(0)
        count = batch + 1024
        pixels = rng.integers(0, 256, (min(count, 1280), 3, side, side), np.uint8)
        self.source = open_source(pixels[np.arange(count) % len(pixels)])
        recipe = SimCLR.default_recipe().changed({"encoder": name, "batch_size": batch})
        self.recipe = recipe = resolve(recipe, SimCLR, self.source)
        assert recipe.monitor.every is not None
        kind = modality("image")
        self.spec = kind.input_spec(recipe, self.source)
        self.reservoir = len(kind.reservoir(self.source, recipe)[1])
        made = kind.training_views(recipe, self.spec)
        self.views = made.view if plain else made  # the default turns them channels-last
        self.method: Method = build_method(SimCLR, recipe, self.spec).to(device)
        self.bf16 = recipe.precision == "bf16" and not plain
        if plain:
            for weight in self.method.parameters():
                weight.data = weight.data.contiguous()
        self.plain = plain
        self.optimizer = build_optimizer(self.method, recipe.optimizer, global_batch=batch)
        self.device, self.batch = device, batch
        self.index = np.arange(batch)
        self.generator = torch.Generator(device).manual_seed(0)
        self.views.to(device)
        self.made = self.make(self.load())

    def load(self) -> Any:
        return self.source.batch(self.index).to(self.device)

    def make(self, raw: Any) -> list[torch.Tensor]:
        return self.views(raw, self.generator)

    def backward(self) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = self.method.training_loss(Batch(self.made)).total
        loss.backward()

    def network(self) -> None:
        """Forward and backward of the network alone, without a loss."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            z = self.method.project(torch.cat(self.made))
        z.backward(torch.ones_like(z))

    def loss(self) -> None:
        """The loss and its gradient alone."""
        z = torch.randn(2, self.batch, self.method.config.proj_output_dim, device=self.device)
        a, b = z.requires_grad_()
        nt_xent_loss(a, b, temperature=self.method.config.temperature).backward()

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def whole(self) -> None:
        with contextlib.nullcontext() if self.plain else repeatable(strict=True):
            self.backward()
            self.update()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def look(self, samples: int) -> None:
        """One look of the monitor at so many samples."""
        view = modality("image").eval_view(self.spec).to(self.device)
        parts = []
        with evaluating(self.method), torch.autocast(self.device, torch.bfloat16, self.bf16):
            for start in range(0, samples, 256):
                rows = np.arange(start, min(start + 256, samples))
                raw = self.source.batch(rows).to(self.device)
                parts.append(self.method.project(view(raw)).float())
        online_criteria(torch.cat(parts))

    def flops(self) -> int:
        """Floating-point operations of a step, counted on few samples."""
        few, made = min(8, self.batch), self.made
        self.made = [view[:few] for view in made]
        with FlopCounterMode(display=False) as counter:
            self.backward()
        self.optimizer.zero_grad()
        self.made = made
        return counter.get_total_flops() * self.batch // few


def peak(bf16: bool, device: str, side: int = 2048) -> float:
    """Floating-point operations a second of a square matrix product."""
    side = 8192 if device == "cuda" else side
    kind = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(side, side, device=device).to(kind)

    def product() -> None:
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()

    clock = time.perf_counter if device == "cuda" else time.process_time
    return 2 * side**3 / min(interleaved({"product": product}, 5, clock)["product"])


def case(
    name: str, side: int, batch: int, device: str = "cpu", quick: bool = False
) -> dict[str, Any]:
    """Both steps of one network, and the shares of the default one's time."""
    default = Step(name, side, batch, device, plain=False)
    plain = Step(name, side, batch, device, plain=True)
    clock = gpu_clock if device == "cuda" else time.process_time
    repetitions = 1 if quick else 10 if device == "cuda" else REPETITIONS
    some = 8 if quick else min(256, default.reservoir)
    works = {"default": default.whole, "plain": plain.whole}
    if device == "cuda":
        works["eager"] = Step(name, side, batch, device, plain=False).whole
        compile_networks(default.method)
        for _ in range(3):  # a size that changes is compiled again
            default.whole()
            default.look(some)
    else:
        Step(name, side, min(batch, 4), device, plain=False).whole()
    times = interleaved(works, repetitions, clock, device == "cuda")
    step = median(times["default"])
    raw = default.load()
    every, samples = default.recipe.monitor.every or 1, default.reservoir
    network = seconds(default.network, clock)  # leaves the gradients that the update wants
    parts = {"optimiser": seconds(default.update, clock)}
    parts["monitor"] = seconds(lambda: default.look(some), clock) * samples / some / every
    small = {
        "data": default.load,
        "views": lambda: default.make(raw),
        "check": lambda: _not_finite(default.made),
        "loss": default.loss,
    }
    parts |= {name: median(t) for name, t in interleaved(small, repetitions, clock).items()}
    whole = network + sum(parts.values())
    result = {
        "seconds": step,
        "plain": median(times["plain"]),
        "ratio": ratio(times["plain"], times["default"]),
        "images_per_second": 2 * batch / step,
        "precision": default.recipe.precision,
        "peak": plain.flops() / step / peak(default.bf16, device, 256 if quick else 2048),
        "shares": {part: value / whole for part, value in parts.items()},
        "other": sum(parts.values()) / whole,
    }
    if device == "cuda":
        result |= {"gib": gib(default.whole), "plain_gib": gib(plain.whole)}
        result["eager_images_per_second"] = 2 * batch / median(times["eager"])
    return result


def gpu_clock() -> float:
    """The clock, once the GPU is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


def gib(work: Callable[[], object]) -> float:
    """Peak of the GPU's memory in a call, weights and moments of all three steps included."""
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def main(quick: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Print the tables and return them."""
    torch.set_num_threads(1)
    cases = QUICK if quick else CUDA_CASES if device == "cuda" else CASES
    results: dict[str, Any] = {}
    more = ("", "")
    if device == "cuda":
        more = (" images/s, not compiled | GiB | plain, GiB |", " ---: | ---: | ---: |")
    head = "| network | side | samples | precision | s | plain, s | ratio | images/s | of peak |"
    print(head + more[0])
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |" + more[1])
    for name, side, batch in cases:
        while device == "cpu" and batch * SAMPLE_MIB[side] > free_mib() / 2:
            batch //= 2
        row = case(name, side, batch, device, quick)
        results[f"{name} {side}"] = row
        memory = ""
        if device == "cuda":
            eager = row["eager_images_per_second"]
            memory = f" {eager:,.0f} | {row['gib']:.1f} | {row['plain_gib']:.1f} |"
        print(
            f"| {name} | {side} | {batch} | {row['precision']} | {row['seconds']:.3g} | "
            f"{row['plain']:.3g} | {row['ratio']:.2f} | {row['images_per_second']:,.0f} | "
            f"{row['peak']:.0%} |{memory}",
            flush=True,
        )
    names = list(next(iter(results.values()))["shares"])
    print("\nShares of the whole training time of the default step:\n")
    print("| network | " + " | ".join(names) + " | all that is not the network |")
    print("| --- |" + " ---: |" * (len(names) + 1))
    for name, row in results.items():
        cells = [f"{row['shares'][part]:.1%}" for part in names] + [f"{row['other']:.1%}"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    targets = []
    for name, row in results.items():
        monitor = row["shares"]["monitor"]
        targets += [
            target(
                f"step, {name}", ">= 1.8 x plain", row["ratio"], row["ratio"] >= 1.8, WHY["step"]
            ),
            target(
                f"not the network, {name}", "<= 0.1", row["other"], row["other"] <= 0.1, WHY["rest"]
            ),
            target(f"monitor, {name}", "<= 0.02", monitor, monitor <= 0.02, WHY["monitor"]),
        ]
    return {"cases": results, "targets": targets}


if __name__ == "__main__":
    where = "cuda" if "cuda" in sys.argv else "cpu"
    print(json.dumps(main("--quick" in sys.argv, where)))
