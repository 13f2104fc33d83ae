"""Who started the processes, read from the environment; nothing is started here."""

from __future__ import annotations

import logging
import socket
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn

from tacit.encoders import build_encoder
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.errors import ConfigError, TacitError
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.training import launch, together
from tacit.training.folder import RunFolder
from tacit.training.launch import (
    FOLDER,
    agree,
    environment,
    join,
    rank,
    strategy,
    with_synchronised_norms,
)
from tacit.training.launcher import FIRST, OneMachine
from tacit.training.sharding import blocks, check_shardable

NAMES = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID")
NAMES += ("LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", FOLDER)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def torchrun(monkeypatch: pytest.MonkeyPatch, world: int, local: int) -> None:
    numbers = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": local, "RANK": 0, "LOCAL_RANK": 0}
    for name, value in ({"TORCHELASTIC_RUN_ID": "x"} | numbers).items():
        monkeypatch.setenv(name, str(value))


def test_one_process_is_left_alone() -> None:
    recipe = Recipe()
    assert join(recipe) is recipe
    assert isinstance(environment(recipe), LightningEnvironment)
    assert rank() == 0
    assert strategy(recipe) == "auto"


def test_the_port_of_a_machine_is_kept_for_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    here = OneMachine()
    port = here.main_port
    assert here.main_port == port
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("", port))
    store = dist.TCPStore("127.0.0.1", port, 1, is_master=True, timeout=timedelta(minutes=5))
    assert store.port == port
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert OneMachine().main_port == 1234


def test_torchrun_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, 1, 1)
    assert isinstance(environment(Recipe()), TorchElasticEnvironment)
    assert join(Recipe()) == Recipe()
    torchrun(monkeypatch, 4, 2)
    with pytest.raises(ConfigError, match="4 processes were started, but the run is for 3 devices"):
        join(Recipe(devices=3))


def test_slurm_counts_where_several_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "tacit")
    with caplog.at_level(logging.WARNING, "tacit"):
        assert join(Recipe()).devices == 1  # one run of many in a larger job
    assert "every task trains its own" in caplog.text
    assert isinstance(environment(Recipe()), LightningEnvironment)
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        join(Recipe(devices=2, nodes=2))
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert isinstance(environment(Recipe(devices=2, nodes=2)), SLURMEnvironment)
    with pytest.raises(ConfigError, match="4 processes were started"):
        join(Recipe(devices=2))


def test_a_task_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"SLURM_NTASKS": 2, "SLURM_JOB_NAME": "tacit", "SLURM_NTASKS_PER_NODE": 2}
    job |= {"SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_NODEID": 0, "SLURM_JOB_ID": 1}
    for name, value in (job | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(launch, "MEETING", timedelta(seconds=1))
    with pytest.raises(TacitError, match="2 processes of this run did not meet"):
        join(Recipe(devices=2))


def test_processes_that_parted_do_not_begin_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FIRST, "1")
    monkeypatch.setattr(together, "parted", False)
    with pytest.raises(OSError, match="boom"), together.none_waits(Recipe(devices=2)):
        raise OSError("boom")
    with pytest.raises(TacitError, match="Start the script again"):
        join(Recipe(devices=2))
    assert join(Recipe()) == Recipe()


def test_impossible_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="torchrun --nnodes 2"):
        join(Recipe(nodes=2, devices=4))
    with monkeypatch.context() as interactive:
        interactive.setattr(sys, "ps1", ">>> ", raising=False)
        with pytest.raises(ConfigError, match="need a script"):
            join(Recipe(devices=2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="this machine has 1 GPU\\."):
        join(Recipe(devices=2))


def test_processes_that_lightning_starts_know_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    def create() -> RunFolder:
        return RunFolder.create(tmp_path / "run", "simclr", "digits")

    monkeypatch.setenv(FOLDER, "")  # so that it is restored
    first = agree(Recipe(devices=2), create)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank() == 1
    assert agree(Recipe(devices=2), create).path == first.path.absolute()


def test_strategies() -> None:
    assert isinstance(strategy(Recipe(devices=2)), DDPStrategy)
    assert isinstance(strategy(Recipe(devices=2, strategy="fsdp")), ModelParallelStrategy)
    with pytest.raises(ConfigError, match="strategy = 'fsd'"):
        Recipe.parse({"strategy": "fsd"})


def test_blocks_are_layers_not_networks() -> None:
    vit = build_encoder("vit_ti", in_channels=3, image_size=32, depth=3)
    nested = nn.Sequential(vit, nn.Sequential(nn.Linear(400, 400), nn.Linear(4, 4)))
    assert [type(block).__name__ for block in blocks(nested)] == ["Block"] * 3 + ["Linear"]


def test_what_cannot_be_divided_is_refused() -> None:
    cls = METHODS.get("simclr")
    method = cls(build_encoder("small", in_channels=1, image_size=16), cls.Config())
    check_shardable(method, own_encoder=False)
    with pytest.raises(ConfigError, match="encoder by name"):
        check_shardable(method, own_encoder=True)

    class Fitted(cls):  # type: ignore[misc, valid-type]
        def finish(self, batches) -> None:
            pass

    method = Fitted(build_encoder("small", in_channels=1, image_size=16), cls.Config())
    with pytest.raises(ConfigError, match="Fitted ends with a fit"):
        check_shardable(method, own_encoder=False)


def test_batch_norm_is_synchronised_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = METHODS.get("simclr")
    method = cls(build_encoder("small", in_channels=1, image_size=16), cls.Config())
    alone, two = Recipe(sync_batchnorm=True), Recipe(sync_batchnorm=True, devices=2)
    assert with_synchronised_norms(method, alone) is method
    with pytest.raises(ConfigError, match="needs GPUs"):
        with_synchronised_norms(method, two)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = set(method.state_dict())
    converted = with_synchronised_norms(method, two)
    kinds = [type(m) for m in converted.modules() if "BatchNorm" in type(m).__name__]
    assert kinds
    assert set(kinds) == {nn.SyncBatchNorm}
    assert set(converted.state_dict()) == names
    converted.odd = PositionBatchNorm(3)
    with pytest.raises(ConfigError, match="PositionBatchNorm"):
        with_synchronised_norms(converted, two)
