"""The k largest similarities of a block of queries to a block of a bank, exactly."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: columns of a group: only groups whose largest value is among the k largest can hold a neighbour
_GROUP = 16
_ROUNDING = 2.0**-9  # of a number below 1 to bf16, at most


class Rough(NamedTuple):
    """A bank in bf16, and the largest distance of a row from what it was."""

    rows: Tensor
    error: float

    @classmethod
    def of(cls, bank: Tensor) -> Rough:
        rows = bank.bfloat16()
        parts = zip(bank.split(1024), rows.split(1024))
        return cls(rows, max(float((a - b.float()).norm(dim=1).max()) for a, b in parts))


def screens(device: torch.device) -> bool:
    """Whether products of bf16 are so fast that they pay as a first look: some CPUs."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    checks = (getattr(torch.cpu, name, None) for name in names)
    return device.type == "cpu" and any(check is not None and check() for check in checks)


def nearest(
    query: Tensor, bank: Tensor, rough: Rough | None, k: int, own: int | None
) -> tuple[Tensor, Tensor]:
    """Values (m, k), largest first, and columns (m, k) of ``query @ bank.T``.

    Parameters
    ----------
    query, bank : unit rows (m, d) and (n, d), n >= k.
    rough : the bank in bf16, where a first look at it pays.
    k : number of values.
    own : row i of the query is row ``own + i`` of the bank and not its own neighbour; None: no row.
    """
    if rough is not None:
        found = _screened(query, bank, rough, k, own)
        if found is not None:
            return found
    tile = query @ bank.T
    _leave_out(tile, own)
    if tile.is_cuda:  # whose selection is faster than any group
        values, columns = tile.topk(k, dim=1)
        return values, columns
    columns = _columns(tile, _best(tile, k)[1])
    values, where = tile.gather(1, columns).topk(k, dim=1)
    return values, columns.gather(1, where)


def _screened(
    query: Tensor, bank: Tensor, rough: Rough, k: int, own: int | None
) -> tuple[Tensor, Tensor] | None:
    """:func:`nearest` by way of the product in bf16; None where too many values are close.

    That product is wrong by at most ``error``: what is more than twice that below its k-th largest
    value is no neighbour. The rest is computed again in float32.
    """
    small = query.bfloat16()
    tile = small @ rough.rows.T
    _leave_out(tile, own)
    # Of the rounding of bank and query, and of the result and its sums.
    error = rough.error + 1.01 * (query - small.float()).norm(dim=1) + 1.2 * _ROUNDING
    spare = 2 * k + 64
    best, groups = _best(tile, spare)
    if best.shape[1] < spare:
        return None  # a small bank
    cut = (best[:, k - 1].float() - 2 * error)[:, None]
    needed = int((best >= cut).sum(1).max())
    if needed == spare:
        return None
    columns = _columns(tile, groups[:, :needed])
    values = tile.gather(1, columns)
    close = values >= cut
    counts = close.sum(1).tolist()
    if max(counts) > spare:
        return None
    columns = columns[close]  # of all queries, one after the other
    exact = query.new_full((len(query), max(counts)), -torch.inf)
    for out, some, row, count in zip(exact, columns.split(counts), query, counts, strict=True):
        torch.mv(bank.index_select(0, some), row, out=out[:count])
    values, where = exact.topk(k, dim=1)
    first = torch.tensor([0, *counts[:-1]]).cumsum(0)
    return values, columns[first[:, None] + where]


def _leave_out(tile: Tensor, own: int | None) -> None:
    if own is not None:
        column = torch.arange(own, own + len(tile), device=tile.device)
        inside = ((column >= 0) & (column < tile.shape[1])).nonzero()[:, 0]
        tile[inside, column[inside]] = -torch.inf


def _best(tile: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values of the groups that have the largest, and which groups."""
    width = tile.shape[1] // _GROUP
    # group g: the columns g, g + width, g + 2 width ...
    best = tile[:, : width * _GROUP].unflatten(1, (_GROUP, width)).amax(1)
    top = best.topk(min(count, width), dim=1)
    return top.values, top.indices


def _columns(tile: Tensor, groups: Tensor) -> Tensor:
    """All columns of the groups, and those of no group at the end."""
    width = tile.shape[1] // _GROUP
    offsets = torch.arange(0, width * _GROUP, width or 1, device=tile.device)
    inside = (groups[:, None, :] + offsets[:, None]).flatten(1)
    rest = torch.arange(width * _GROUP, tile.shape[1], device=tile.device)
    return torch.cat([inside, rest.expand(len(tile), -1)], 1)
