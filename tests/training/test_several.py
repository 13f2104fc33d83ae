"""Processes of one run decide the same, or all of them end with a message and none waits.

Two processes on the CPU. Run as a script, this file is the processes.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import gloo
import tacit
import tacit.api
from tacit.distributed import all_gather, rank, world_size
from tacit.encoders import Encoder, Features
from tacit.losses import nt_xent_loss
from tacit.methods.base import Batch, Losses, Method
from tacit.recipe import Recipe
from tacit.training import checkpoint, fit, module, monitor

BAD = 7  # a row whose views are not finite
STEPS = 12


class Linear(Encoder):
    """No batch norm: samples meet in the loss only."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.in_channels = 10, 1
        torch.manual_seed(0)
        self.layer = nn.Linear(256, 10)

    def features(self, x: Tensor) -> Features:
        return Features(self.layer(x.flatten(1)))


class Plain(Method):
    """The contrast of a sample with itself against the others, with a teacher that follows."""

    class Config(Method.Config):
        """No options."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        self.register_buffer("steps", torch.zeros(()))

    def training_loss(self, batch: Batch) -> Losses:
        assert all(torch.isfinite(view).all() for view in batch.views)
        first, second = (all_gather(self.encoder(view)) for view in batch.views)
        return Losses(nt_xent_loss(first, second))

    def after_step(self) -> None:
        self.steps += 1

    @classmethod
    def default_recipe(cls, modality: str = "image") -> Recipe:
        return Recipe(method="plain", views="none", n_views=2, precision="32")


class Faulty(nn.Module):
    """Views that are not finite for every sample of which the first pixel is white."""

    def __init__(self, views: nn.Module) -> None:
        super().__init__()
        self.views = views

    def forward(self, samples: Tensor, generator: torch.Generator) -> list[Tensor]:
        made = [view.clone() for view in self.views(samples, generator)]
        made[1][samples[:, 0, 0, 0] == 255] = float("nan")
        return made


def images(bad: list[int]) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (200, 16, 16), dtype=np.uint8)
    pixels[bad, 0, 0] = 255
    return pixels


def train(out: Path, data: np.ndarray, **options: Any) -> tacit.Run:
    settings = {
        "batch_size": 32 // world_size(), "devices": world_size(), "steps": STEPS,
        "monitor_every": 5, "monitor": {"samples": 32}, "lr": 0.05, "optimizer": "sgd",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        real = module.TrainingModule.__init__

        def init(self: Any, method: Method, views: nn.Module, *args: Any, **more: Any) -> None:
            real(self, method, Faulty(views), *args, **more)

        patch.setattr(module.TrainingModule, "__init__", init)
        return tacit.pretrain(
            Plain, data, out=out, encoder=Linear(), progress=False, **{**settings, **options}
        )


def skipping(out: Path) -> dict[str, Any]:
    """A run that leaves out the steps of one sample."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("tacit")
    log.addHandler(handler)
    try:
        run = train(out, images([BAD]))
    finally:
        log.removeHandler(handler)
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    status = {name: run.status[name] for name in ("state", "skipped_batches", "loss")}
    return {"weights": state, "status": status, "said": said}


def message(out: Path, **options: Any) -> str:
    """How a run ends: with an error, or with a state at a step."""
    try:
        run = train(out, **{"data": images([]), **options})
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return f"{run.status['state']} at step {run.status['step']}"


def only(process: int, owner: Any, name: str, action: Callable[[], object], call: int = 1) -> Any:
    """In one process, the `call`-th call of a function does something before."""
    patch, real, calls = pytest.MonkeyPatch(), getattr(owner, name), []

    def function(*args: Any, **more: Any) -> Any:
        calls.append(name)
        if rank() == process and len(calls) == call:
            action()
        return real(*args, **more)

    patch.setattr(owner, name, function)
    return patch


def fail() -> None:
    raise OSError(errno.EIO, "a disk is broken")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


Callback = checkpoint.CheckpointCallback
# What happens to one process only: which, where, what, at which call.
EVENTS: dict[str, tuple[Any, ...]] = {
    "no data": (1, tacit.api, "open_training", fail),
    "no folder": (0, tacit.api.RunFolder, "create", fail),
    "no batch": (1, module, "_not_finite", fail, 3),
    "no disk": (0, checkpoint, "_digest", fail),
    "no encoder": (0, fit, "save_encoder", fail),
    "signal at the start": (1, monitor.MonitorCallback, "on_train_start", terminate),
    "signal in a step": (1, module, "_not_finite", terminate, 3),
    "signal in saving": (1, checkpoint, "save_checkpoint", terminate),
}


def ends(folder: Path) -> dict[str, str]:
    """How runs end in which something happens to one process only."""
    found = {}
    for name, event in EVENTS.items():
        patch = only(*event)
        try:
            found[name] = message(folder / name)
        finally:
            patch.undo()
        meet(folder)
    found["bad"] = message(folder / "bad", data=images(list(range(200))), max_bad_batches=2)
    meet(folder)
    other = images([]) + np.uint8(rank())
    found["other data"] = message(folder / "data", data=other)
    meet(folder)
    found["fewer data"] = message(folder / "fewer", data=images([])[rank() :])
    meet(folder)
    found["other recipe"] = message(folder / "recipe", lr=0.1 + rank())
    meet(folder)
    return found


def meet(folder: Path) -> None:
    """Again, where a failure has parted the processes."""
    if not dist.is_initialized():
        meet.times += 1  # type: ignore[attr-defined]
        place, world = f"file://{folder}/store{meet.times}", int(os.environ["WORLD"])  # type: ignore[attr-defined]
        number = int(os.environ["LOCAL_RANK"])
        dist.init_process_group("gloo", init_method=place, rank=number, world_size=world)
    dist.barrier()


meet.times = 0  # type: ignore[attr-defined]


def work() -> dict[str, Any]:
    folder = Path(sys.argv[1])
    os.environ |= {"LOCAL_RANK": str(rank()), "WORLD": str(world_size())}
    return {"skipping": skipping(folder / "skipping"), "ends": ends(folder)}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not dist.is_gloo_available() or torch.cuda.is_available():
        pytest.skip("needs gloo, and two processes on the CPU")
    return gloo.start(__file__, tmp_path_factory.mktemp("several"), worlds=[2])[2]


def test_a_bad_batch_is_left_out_as_by_one_process(both: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = skipping(Path(folder) / "run")
    assert 1 <= one["status"]["skipped_batches"] <= 3
    assert one["weights"]["method.steps"] == STEPS - one["status"]["skipped_batches"]
    words = [text for text in one["said"] if "left out" in text]
    assert len(words) == one["status"]["skipped_batches"]
    assert words[0].endswith(f"from samples {BAD}")
    for process, found in enumerate(both):
        two = found["skipping"]
        assert two["status"]["skipped_batches"] == one["status"]["skipped_batches"]
        assert two["status"]["loss"] == pytest.approx(one["status"]["loss"], rel=1e-5)
        for name, value in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], value, rtol=1e-4, atol=1e-6, msg=name)
        assert [t for t in two["said"] if "left out" in t] == (words if process == 0 else [])


def test_too_many_bad_batches_end_both_with_the_same_words(both: list[dict[str, Any]]) -> None:
    first, second = (found["ends"]["bad"] for found in both)
    assert first == second
    assert "3 such batches" in first
    assert "Repair or remove" in first


OTHER = "TacitError: Another process of this run ended"
WORDS = {
    "no data": (OTHER, "OSError: [Errno 5] a disk is broken"),
    "no folder": ("OSError: [Errno 5] a disk is broken", "SystemExit: 2"),
    "no batch": (OTHER, "OSError: [Errno 5] a disk is broken"),
    "no disk": ("TacitError: Cannot write the checkpoint", OTHER),
    "no encoder": ("OSError: [Errno 5] a disk is broken", OTHER),
    "signal at the start": ("interrupted at step 1", "interrupted at step 1"),
    "signal in a step": ("interrupted at step 3", "interrupted at step 3"),
    "signal in saving": (f"interrupted at step {STEPS}",) * 2,
    "other data": ("ConfigError: The processes of this run differ in the content of the data",) * 2,
    "fewer data": (
        "ConfigError: The processes of this run differ in the number of samples: 200 in process 0, "
        "199 in process 1. All of them need",
    )
    * 2,
    "other recipe": ("ConfigError: The processes of this run differ in 'optimizer' of the",) * 2,
}


@pytest.mark.parametrize("event", WORDS)
def test_what_happens_to_one_process_ends_both(event: str, both: list[dict[str, Any]]) -> None:
    for found, words in zip(both, WORDS[event], strict=True):
        assert found["ends"][event].startswith(words)


if __name__ == "__main__":
    gloo.main(work, worlds=[2])
