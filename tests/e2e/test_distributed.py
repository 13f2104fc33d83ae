"""Two processes from the command line: started by torchrun, by SLURM and by --devices."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU"),
]

TACIT = [sys.executable, "-m", "tacit", "pretrain"]
TORCHRUN = [
    *[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"],
    *["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "tacit", "pretrain"],
]
SMALL = ["--batch-size", "32", "--image-size", "16", "--steps", "6", "--no-report"]
FREE = ["--encoder", "small", "--set", "encoder.widths=[8, 16]", "--set", "monitor.samples=32"]


def environment(**more: object) -> dict[str, str]:
    """Without what another launcher left."""
    names = ("SLURM", "TORCHELASTIC", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER", "TACIT_RUN")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    return {**kept, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in more.items()}}


def start(command: list[str], folder: Path, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment(**more), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    try:
        text = process.communicate(timeout=1200)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what hangs would disturb the other tests
    assert process.returncode == code, text
    return text


def status(run: Path) -> dict[str, object]:
    return json.loads((run / "status.json").read_text())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "encoder.safetensors")


def assert_equal(one: Path, two: Path) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """A run of two processes that nothing disturbed, started by torchrun, folder not named."""
    text = finish(start([*TORCHRUN, "byol", "digits", *SMALL, *FREE], home))
    assert text.count("next     tacit evaluate") == 1  # one process speaks
    runs = list((home / "runs").iterdir())
    assert len(runs) == 1
    return runs[0]


def test_torchrun(whole: Path) -> None:
    recipe = (whole / "recipe.yaml").read_text()
    assert "devices: 2" in recipe
    assert status(whole)["state"] == "finished"
    assert status(whole)["step"] == 6
    rows = (whole / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) > 1


SIGNALLED = """
import os, signal
from tacit.cli import main
from tacit.training.checkpoint import CheckpointCallback

agree = CheckpointCallback.on_train_batch_end

def with_signal(self, trainer, *args):
    now = trainer.global_rank == 0 and trainer.global_step == 2
    if now and os.environ["TO"] == "both":
        os.killpg(0, signal.SIGINT)  # Ctrl-C reaches every process of a terminal
    agree(self, trainer, *args)
    if now and os.environ["TO"] == "one":
        os.kill(os.getpid(), signal.SIGINT)

CheckpointCallback.on_train_batch_end = with_signal
if __name__ == "__main__":
    main()
"""


def signalled(home: Path, run: Path, to: str) -> str:
    """What two processes say that get the signal at their second step."""
    (home / "signalled.py").write_text(SIGNALLED)
    command = [sys.executable, "signalled.py", "pretrain", "byol", "digits", *SMALL, *FREE]
    text = finish(start([*command, "--devices", "2", "-o", str(run)], home, TO=to), 130)
    assert status(run)["state"] == "interrupted"
    return text


def test_interrupted_on_two_devices_then_resumed_then_evaluated(home: Path, whole: Path) -> None:
    run = home / "parts"
    text = signalled(home, run, "both")
    assert "nothing is lost" in text
    assert text.count("--resume") == 1
    assert status(run)["step"] == 2
    finish(start([*TACIT, "--resume", str(run), "--no-report"], home))
    assert status(run)["state"] == "finished"
    assert_equal(run, whole)
    evaluate = [*TACIT[:-1], "evaluate", str(run), "--probe", "knn"]
    assert "knn" in finish(start(evaluate, home))


def test_a_signal_to_one_process_after_they_agreed_to_go_on_stops_both_a_step_later(
    home: Path,
) -> None:
    signalled(home, home / "late", "one")
    assert status(home / "late")["step"] == 3


ENDS = """
import os, signal
from tacit.cli import main
from tacit.training import launcher
from tacit.training.module import TrainingModule

how, process = os.environ["HOW"], int(os.environ["PROCESS"])
own, real = int(os.environ.get("LOCAL_RANK", 0)), TrainingModule.training_step

def step(self, raw, index):
    if self.trainer.global_rank == process and raw.micro_step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, raw, index)

if how == "killed":
    TrainingModule.training_step = step
    launcher.GRACE = 10_000  # the first process notices by itself, and may be slow
else:
    launcher.GRACE = 2
if __name__ == "__main__" and (how != "absent" or own != process):
    main()
"""


@pytest.mark.parametrize(
    ("how", "process", "code", "words"),
    [
        ("absent", 1, 2, "Process 1 of this run ended with exit code 0 while the others needed it"),
        ("killed", 1, 2, "Another process of this run ended"),
        ("killed", 0, -signal.SIGKILL, "Another process of this run ended"),
    ],
)
def test_where_one_process_ends_none_waits(
    how: str, process: int, code: int, words: str, home: Path
) -> None:
    (home / "ends.py").write_text(ENDS)
    run, command = home / f"{how}{process}", [sys.executable, "ends.py", "pretrain"]
    command += ["byol", "digits", *SMALL, *FREE, "--devices", "2", "-o", str(run)]
    command += ["--set", "checkpoint_every=0.000001"]  # there is something to keep
    # Waits for all of them: each has the pipe open.
    text = finish(start(command, home, HOW=how, PROCESS=process), code)
    if code > 0:  # the first process was there to say it
        assert words in text
        assert status(run)["state"] == "failed"
    assert "Traceback" not in text


@contextlib.contextmanager
def port() -> Iterator[int]:
    """A port that nobody else gets: bound, and free for who shares the address and listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_slurm(home: Path, whole: Path) -> None:
    job = {
        "SLURM_JOB_ID": 1, "SLURM_JOB_NAME": "tacit", "SLURM_NTASKS": 2, "SLURM_NNODES": 1,
        "SLURM_NTASKS_PER_NODE": 2, "SLURM_NODEID": 0, "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    command = [*TACIT, "byol", "digits", *SMALL, *FREE, "--devices", "2", "-o", "slurm"]
    with port() as number:
        tasks = [
            start(command, home, **job, MASTER_PORT=number, SLURM_PROCID=task, SLURM_LOCALID=task)
            for task in range(2)
        ]
        speaks, silent = (finish(task) for task in tasks)
    assert "next     tacit evaluate" in speaks
    assert silent == ""
    assert_equal(home / "slurm", whole)


def test_fsdp(home: Path, whole: Path) -> None:
    command = [*TACIT, "byol", "digits", *SMALL, *FREE, "--devices", "2", "--strategy", "fsdp"]
    finish(start([*command, "-o", "fsdp"], home))
    # Kernels lie in memory in another order, so that sums are rounded differently.
    assert status(home / "fsdp")["loss"] == pytest.approx(status(whole)["loss"], rel=0.02)
    assert {k: v.shape for k, v in weights(home / "fsdp").items()} == {
        k: v.shape for k, v in weights(whole).items()
    }
    saved = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (home / "fsdp", whole)
    ]
    assert {k: v.shape for k, v in saved[0].items()} == {k: v.shape for k, v in saved[1].items()}


def test_a_folder_that_is_taken_is_refused_for_all(home: Path, whole: Path) -> None:
    text = finish(start([*TORCHRUN, "byol", "digits", *SMALL, "-o", str(whole)], home), 1)
    assert text.count("already holds a run") == 1
