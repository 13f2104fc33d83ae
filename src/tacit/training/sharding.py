"""Fully sharded data parallelism: every process keeps a part of each weight and its moments."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from tacit.encoders import Encoder
from tacit.errors import ConfigError
from tacit.methods.base import Method

SMALLEST = 2**16  # numbers of a block that is gathered apart; smaller ones come with their parent
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def check_shardable(method: Method, own_encoder: bool) -> None:
    """Refuse what needs whole weights outside of the forward pass.

    Raises
    ------
    ConfigError : a method with a last step on the frozen encoder, or a network of the user's own.
    """
    if type(method).finish is not Method.finish:
        raise ConfigError(
            f"strategy fsdp divides the weights, but {type(method).__name__} ends with a fit on "
            "the whole encoder; use strategy ddp."
        )
    if own_encoder:
        raise ConfigError("strategy fsdp needs an encoder by name, or use strategy ddp.")


def blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost large elements of the lists of layers: residual and transformer blocks.

    >>> layers = nn.Sequential(nn.Linear(300, 300), nn.Sequential(nn.Linear(4, 4)))
    >>> blocks(layers)
    [Linear(in_features=300, out_features=300, bias=True)]
    """
    found = []
    for child in module.children():
        whole = not isinstance(child, (*_CONTAINERS, Encoder))
        if whole and isinstance(module, _CONTAINERS):
            if sum(p.numel() for p in child.parameters()) >= SMALLEST:
                found.append(child)
        else:
            found += blocks(child)
    return found


def shard(module: nn.Module, mesh: Any, calls: tuple[str, ...]) -> None:
    """Divide the weights of `module` over the processes, block by block.

    Parameters
    ----------
    mesh : a device mesh of one dimension.
    calls : methods of `module` that need whole weights, as `forward` does.
    """
    for parameter in module.parameters():  # channels-last kernels cannot be divided
        parameter.data = parameter.data.contiguous()
    for block in blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for name in calls:
        register_fsdp_forward_method(module, name)


@torch.no_grad()
def make_whole(module: nn.Module) -> None:
    """After training: put whole weights in the place of the parts; every process must call it."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if isinstance(parameter, DTensor):
                setattr(part, name, nn.Parameter(parameter.full_tensor(), parameter.requires_grad))
