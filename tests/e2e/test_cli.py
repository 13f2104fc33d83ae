"""The commands as a user types them."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from tacit.training.metrics import read_metrics

FAST = ["--batch-size", "64", "--set", "monitor_every=10", "--set", "monitor.samples=64"]


def tacit(*arguments, cwd, code=0, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tacit", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        **options,
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = tacit("pretrain", "simclr", "digits", "--steps", 30, *FAST, "-o", "run", cwd=folder)
    return folder, done


def test_pretrain_leaves_a_complete_run(trained):
    folder, done = trained
    run = folder / "run"
    for name in [
        "recipe.yaml",
        "metrics.csv",
        "status.json",
        "environment.json",
        "encoder.json",
        "encoder.safetensors",
        "report.html",
        "checkpoints/last.ckpt",
    ]:
        assert (run / name).is_file(), name
    assert "report.html" in done.stdout
    assert "tacit evaluate" in done.stdout
    assert "RankMe" in done.stderr
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "finished"
    assert status["step"] == 30
    metrics = read_metrics(run / "metrics.csv")
    assert metrics["step"] == [10.0, 20.0, 30.0]
    assert all(isinstance(value, float) for value in metrics["rankme"])
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["options"]["temperature"] > 0
    assert recipe["precision"] in ("32", "bf16")
    assert not any(run.glob("**/.*.tmp"))


def test_the_recipe_replays_to_the_same_numbers(trained):
    folder, _ = trained
    tacit("pretrain", "--recipe", "run/recipe.yaml", "-o", "again", "--no-report", cwd=folder)
    first, again = (read_metrics(folder / name / "metrics.csv") for name in ("run", "again"))
    for column in set(first) - {"seconds", "samples_per_second"}:
        assert first[column] == again[column], column


def test_evaluate_runs_compare_embed_criteria_export(trained):
    folder, _ = trained
    table = tacit("evaluate", "run", "--probe", "knn", cwd=folder).stdout
    assert "untrained" in table
    assert "raw" in table
    assert "finished" in tacit("runs", ".", cwd=folder).stdout
    tacit("pretrain", "simclr", "digits", "--steps", 20, *FAST, "--set", "temperature=1.0",
          "-o", "other", "--no-report", cwd=folder)  # fmt: skip
    compared = tacit("compare", "run", "other", cwd=folder).stdout
    assert "chosen without labels" in compared
    error = tacit("compare", "run", "other", "--criterion", "rnkme", cwd=folder, code=2).stderr
    assert "Did you mean 'rankme'" in error
    error = tacit("evaluate", "run", "--probe", "knm", cwd=folder, code=2).stderr
    assert "Did you mean 'knn'" in error
    tacit("embed", "run", "digits", "-o", "v.npy", cwd=folder)
    tacit("embed", "run", "digits", "-o", "v.parquet", cwd=folder)
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "v.parquet")
    vectors = np.load(folder / "v.npy")
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), vectors)
    assert table["index"].to_pylist() == list(range(len(vectors)))
    assert "rankme" in tacit("criteria", "v.npy", cwd=folder).stdout
    tacit("export", "run", "--format", "torchscript", "-o", "e.pt", cwd=folder)
    assert (folder / "e.pt").stat().st_size > 1000


SIGNALLED = """
import os, signal
from tacit.cli import main
from tacit.training.checkpoint import CheckpointCallback

save = CheckpointCallback.on_train_batch_end

def then_signal(self, trainer, *args):
    save(self, trainer, *args)
    if trainer.global_step == 15:
        os.kill(os.getpid(), signal.SIGINT)

CheckpointCallback.on_train_batch_end = then_signal
main()
"""


def signalled(name, *arguments, cwd):
    """The command line, which gets a signal after step 15."""
    script = SIGNALLED.replace("SIGINT", name)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )


def test_an_interrupted_run_resumes_to_the_same_numbers(tmp_path):
    common = ["byol", "digits", "--steps", "60", *FAST, "--no-report", "--seed", "5"]
    tacit("pretrain", *common, "-o", "whole", cwd=tmp_path)
    part = signalled("SIGINT", "pretrain", *common, "-o", "part", cwd=tmp_path)
    assert part.returncode == 130, part.stderr
    assert "--resume part" in part.stderr
    assert json.loads((tmp_path / "part" / "status.json").read_text())["step"] < 60
    tacit("pretrain", "--resume", "part", "--no-report", cwd=tmp_path)
    whole, part = (read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "part"))
    rows = {int(step): i for i, step in enumerate(part["step"])}
    for i, step in enumerate(whole["step"]):
        for column in set(whole) - {"seconds", "samples_per_second"}:
            assert whole[column][i] == part[column][rows[int(step)]], (column, step)
    from safetensors.torch import load_file

    first, second = (load_file(tmp_path / n / "encoder.safetensors") for n in ("whole", "part"))
    assert all((first[key] == second[key]).all() for key in first)


def test_a_killed_run_says_so_and_resumes(tmp_path):
    arguments = ["pretrain", "simclr", "digits", "--steps", "40", *FAST, "--no-report"]
    often = ["--set", "checkpoint_every=0.000001"]
    killed = signalled("SIGKILL", *arguments, *often, "-o", "run", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "killed" in tacit("runs", ".", cwd=tmp_path).stdout
    tacit("pretrain", "--resume", "run", "--no-report", cwd=tmp_path)
    assert json.loads((tmp_path / "run/status.json").read_text())["step"] == 40
    steps = read_metrics(tmp_path / "run/metrics.csv")["step"]
    assert steps == sorted(set(steps))
    error = tacit("pretrain", "--resume", "run", cwd=tmp_path, code=2).stderr
    assert "finished" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pretrain", "simcrl"], "Did you mean 'simclr'"),
        (["pretrain", "simclr", "digit"], "Did you mean 'digits'"),
        (["pretrain", "simclr", "images:nowhere"], "nowhere"),
        (["pretrain", "simclr", "digits", "--set", "temprature=1"], "Did you mean 'temperature'"),
        (["pretrain", "simclr", "digits", "--set", "temperature=-1"], "temperature"),
        (["pretrain", "simclr", "digits", "--set", "temperature"], "NAME=VALUE"),
        (["pretrain", "simclr", "digits", "--batch-size", "5000"], "smaller --batch-size"),
        (["pretrain", "simclr", "digits", "--encoder", "resnet81"], "Did you mean 'resnet18'"),
        (["pretrain", "simclr", "digits", "--views", "simlr"], "Did you mean 'simclr'"),
        (["pretrain", "simclr", "digits", "--max-time", "soon"], "not a time"),
        (["pretrain", "."], "write images:."),
        (["pretrain", "--resume", "nowhere"], "not a run folder"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["methods", "biol"], "Did you mean 'byol'"),
        (["criteria", "nowhere.npy"], "no file"),
        (["runs", "nowhere"], "no folder"),
        (["reproduce", "dlc"], "Did you mean 'dcl'"),
    ],
)
def test_mistakes_get_one_clear_line_and_exit_code_2(arguments, words, tmp_path):
    error = tacit(*arguments, cwd=tmp_path, code=2).stderr
    assert words in error
    assert "Traceback" not in error


def test_help_teaches(tmp_path):
    for verb in ("", "pretrain", "evaluate", "embed", "compare", "reproduce"):
        text = tacit(*([verb] if verb else []), "--help", cwd=tmp_path).stdout
        assert "tacit" in text
    assert "simclr" in tacit("methods", cwd=tmp_path).stdout
    text = tacit("methods", "dcl", cwd=tmp_path).stdout
    assert "temperature" in text
    assert "arxiv" in text.lower()


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_too_little_memory_is_a_message(library, command, tmp_path):
    def before():
        import tacit

        whole = {"numpy": np, "torch": torch}[library]
        tacit.load = lambda path: whole.empty(2**50)

    done = command("report", tmp_path, before=before)
    assert done.code == 2
    assert "error: Out of memory: use" in done.text
