"""Who started this process, and what the processes of one run do once or together.

Three ways to start: `torchrun` or SLURM start all processes, which then `join`; or one process is
started with `--devices N` and starts the others, with the same command, when it trains.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tacit import distributed
from tacit.errors import ConfigError, TacitError
from tacit.methods.base import Method
from tacit.recipe import Recipe
from tacit.training import together
from tacit.training.folder import RunFolder
from tacit.training.launcher import DDP, FullySharded, OneMachine, end_with_first

log = logging.getLogger("tacit")

FOLDER = "TACIT_RUN_FOLDER"  # how processes that the first one starts learn the folder of the run
MEETING = timedelta(minutes=5)  # that tasks of SLURM wait for one another at the start


def environment(recipe: Recipe) -> ClusterEnvironment:
    """What started the processes of a run.

    SLURM only where the recipe asks for several processes: its variables are also there for a
    single run inside of a larger job.

    Raises
    ------
    ConfigError : SLURM was not told how many tasks a node has.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if recipe.devices * recipe.nodes > 1 and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise ConfigError(str(error)) from None
    return OneMachine()


def join(recipe: Recipe) -> Recipe:
    """Join the processes that torchrun or SLURM started; the recipe with their number.

    Call it before anything that only one process may do. Alone, and for processes that are still to
    be started, nothing happens.

    Raises
    ------
    ConfigError : there are not as many processes as the recipe says.
    TacitError : not all of them came within some minutes, or they parted after a failure.
    """
    started = environment(recipe)
    if isinstance(started, LightningEnvironment):
        _check_alone(recipe)
        if together.parted and recipe.devices > 1:
            raise TacitError(
                "A run of these processes failed, and they do not meet again. Start the script "
                "again; with torchrun it can go on to its next run."
            )
        if started.creates_processes_externally and started.local_rank():
            log.setLevel(logging.ERROR)  # the first process speaks
            end_with_first()
        return recipe
    world = started.world_size()
    if isinstance(started, TorchElasticEnvironment) and recipe.devices * recipe.nodes == 1:
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        recipe = recipe.changed({"devices": devices, "nodes": max(world // devices, 1)})
    if recipe.devices * recipe.nodes != world:
        raise ConfigError(
            f"{world} processes were started, but the run is for {recipe.devices} devices on "
            f"{recipe.nodes} nodes. Start as many, or change --devices and --nodes (a resumed run "
            "needs as many as it had)."
        )
    if world > 1 and not dist.is_initialized():
        _check_devices(recipe)
        os.environ["MASTER_ADDR"] = started.main_address
        os.environ["MASTER_PORT"] = str(started.main_port)
        if torch.cuda.is_available():
            torch.cuda.set_device(started.local_rank())
        rank = started.global_rank()
        try:
            # torchrun looks after its processes, SLURM need not: nobody waits long for a task.
            store = None if isinstance(started, TorchElasticEnvironment) else _meet(started)
            dist.init_process_group(backend(), store=store, rank=rank, world_size=world)
            distributed.patient()
        except RuntimeError as error:
            raise TacitError(
                f"The {world} processes of this run did not meet at {started.main_address}, port "
                f"{started.main_port}: one of them ended, was not started, or cannot reach that "
                f"machine; look at what each says. ({str(error).splitlines()[0]})"
            ) from error
        together.leave_at_exit()
        if rank:
            log.setLevel(logging.ERROR)
    return recipe


def _meet(started: ClusterEnvironment) -> dist.Store:
    rank, world = started.global_rank(), started.world_size()
    store = dist.TCPStore(
        started.main_address, started.main_port, world, is_master=rank == 0, timeout=MEETING
    )
    store.set_timeout(timedelta(minutes=30))
    return store


def _check_alone(recipe: Recipe) -> None:
    if recipe.nodes > 1:
        raise ConfigError(
            f"--nodes {recipe.nodes}: start the command on every node with torchrun (torchrun "
            f"--nnodes {recipe.nodes} --nproc-per-node {recipe.devices} --rdzv-backend c10d "
            "--rdzv-endpoint HOST:PORT -m tacit pretrain ...) or with srun in a SLURM job."
        )
    _check_devices(recipe)
    if recipe.devices > 1 and hasattr(sys, "ps1"):
        raise ConfigError(
            f"{recipe.devices} devices need a script or the command line, which every process runs "
            "again; a notebook or an interactive Python cannot be run again."
        )
    if recipe.devices == 1 and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        log.warning(
            "SLURM started %s tasks, but this run is for one process: every task trains its own. "
            "To train together give --devices (tasks a node) and --nodes.",
            os.environ["SLURM_NTASKS"],
        )


def _check_devices(recipe: Recipe) -> None:
    gpus = torch.cuda.device_count()
    if recipe.devices > 1 and torch.cuda.is_available() and recipe.devices > gpus:
        raise ConfigError(
            f"--devices {recipe.devices}: this machine has {gpus} GPU{'s' if gpus > 1 else ''}. To "
            "train on the processor, hide the GPUs: CUDA_VISIBLE_DEVICES=-1."
        )


def backend() -> str:
    """NCCL for tensors on GPUs, and gloo for numbers that need no GPU to wait."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def rank() -> int:
    """Index of this process in the run, also before the processes that Lightning starts met."""
    if distributed.initialised():
        return distributed.rank()
    return int(os.environ.get("LOCAL_RANK", 0))


def agree(recipe: Recipe, create: Callable[[], RunFolder]) -> RunFolder:
    """The run folder that the first process creates, for all of them.

    Raises
    ------
    SystemExit : (other processes) the first one could not create it, and says why.
    TacitError : another process ended before.
    """
    if distributed.initialised():
        folder, path = None, None
        try:
            if distributed.rank() == 0:
                folder = create()
                path = str(folder.path.absolute())
        finally:
            path = _from_first(path)
        if folder is not None:
            return folder
        if path is None:
            raise SystemExit(2)
        return RunFolder(path)
    if rank() and FOLDER in os.environ:
        return RunFolder(os.environ[FOLDER])
    folder = create()
    if recipe.devices > 1:
        os.environ[FOLDER] = str(folder.path.absolute())
    return folder


def _from_first(path: str | None) -> str | None:
    box: list[Any] = [path]
    try:
        distributed.barrier()  # another one may still decode its data
        dist.broadcast_object_list(box, src=0)
    except RuntimeError as error:
        if lost := together.lost_process(error):
            raise TacitError(lost) from error
        raise
    found: str | None = box[0]
    return found


def with_synchronised_norms(method: Method, recipe: Recipe) -> Method:
    """The method with batch norm over the samples of all processes, where the recipe asks for it.

    Raises
    ------
    ConfigError : without GPUs, or for a batch norm that is not torch's own.
    """
    if not recipe.sync_batchnorm or recipe.devices * recipe.nodes == 1:
        return method
    if not torch.cuda.is_available():
        raise ConfigError(
            "sync_batchnorm needs GPUs: torch has no synchronised batch norm for CPUs."
        )
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    own = {
        type(m).__name__
        for m in method.modules()
        if "BatchNorm" in "".join(c.__name__ for c in type(m).__mro__) and type(m) not in plain
    }
    if own:
        raise ConfigError(
            f"sync_batchnorm knows torch's batch norm only, and this network has {', '.join(own)}."
        )
    converted: Method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    return converted


def strategy(recipe: Recipe) -> Strategy | str:
    """How Lightning trains on the devices of a recipe."""
    world = recipe.devices * recipe.nodes
    if world == 1:
        return "auto"
    if recipe.strategy == "fsdp":
        return FullySharded(
            data_parallel_size=world,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=backend(),
        )
    # Queues and statistics are the same everywhere already: nothing has to be sent again each step.
    known = DistributedDataParallel.__init__.__annotations__
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    # An encoder, or a stage of a method, may leave parameters unused.
    options: dict[str, Any] = {"find_unused_parameters": True, buffers: False}
    return DDP(process_group_backend=backend(), **options)
