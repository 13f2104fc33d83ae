"""The pairwise matrix of scaled similarities as tiles: which there are, and what one holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._mask import Mask

# Matrices of the tile's size that are alive at once: similarities, weights, factors, mask.
LIVE = 4
# On a CPU, tiles that stay in the cache are fastest.
_CPU_TILE = 4 * 2**20
# exp2 is several times faster than exp on CPUs, and as exact.
LOG2E = math.log2(math.e)


class Tile(NamedTuple):
    """A block of pairs; `masked` where some of them may be left out."""

    rows: slice
    cols: slice
    masked: bool


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _ranges(ids: Tensor, parts: list[slice]) -> list[tuple[int, int]]:
    ends = torch.stack([torch.stack(ids[part].aminmax()) for part in parts])
    return [(low, high) for low, high in ends.tolist()]


class Plan(NamedTuple):
    """The tiles of ``scale <q_i, k_j>`` in their order, and how to compute one."""

    scale: float
    mask: Mask
    shape: tuple[int, int]
    triangular: bool = False

    def tiles(self, rows: int, cols: int) -> Iterator[Tile]:
        """Blocks that hold pairs; where ids and own columns cannot meet, nothing is compared."""
        mask = self.mask
        row_parts, col_parts = _slices(rows, self.shape[0]), _slices(cols, self.shape[1])
        row_ids = col_ids = own = None
        if mask.row_ids is not None and mask.col_ids is not None:
            row_ids, col_ids = _ranges(mask.row_ids, row_parts), _ranges(mask.col_ids, col_parts)
        if mask.self_index is not None:
            own = _ranges(mask.self_index, row_parts)
        for i, row in enumerate(row_parts):
            for j, col in enumerate(col_parts):
                if self.triangular and j < i:
                    continue
                masked = own is not None and own[i][0] < col.stop and own[i][1] >= col.start
                if row_ids is not None and col_ids is not None:
                    a, b = row_ids[i], col_ids[j]
                    all_equal = a == b and a[0] == a[1]
                    none_equal = a[0] > b[1] or b[0] > a[1]
                    if none_equal if mask.only_equal else all_equal:
                        continue
                    masked |= not (all_equal if mask.only_equal else none_equal)
                yield Tile(row, col, masked)

    def excluded(self, rows: slice, cols: slice) -> Tensor:
        """Boolean matrix of a masked tile."""
        out = self.mask.excluded(rows, cols)
        assert out is not None, "only a plan with a mask has masked tiles"
        return out

    def logits(self, queries: Tensor, keys: Tensor) -> Iterator[tuple[Tile, Tensor, Tensor]]:
        """Similarities and base-2 logits (-inf where left out) of every tile, in two buffers."""
        size = min(self.shape[0], len(queries)) * min(self.shape[1], len(keys))
        buffers = queries.new_empty(2, size)
        for tile in self.tiles(len(queries), len(keys)):
            q, k = queries[tile.rows], keys[tile.cols]
            similarity, out = (b[: len(q) * len(k)].view(len(q), len(k)) for b in buffers)
            torch.mm(q, k.T, out=similarity)
            torch.mul(similarity, self.scale * LOG2E, out=out)
            if tile.masked:
                out.masked_fill_(self.excluded(tile.rows, tile.cols), -torch.inf)
            yield tile, similarity, out


def tiles_for(
    queries: Tensor,
    keys: Tensor,
    scale: float,
    mask: Mask,
    memory_limit: int,
    symmetric: bool = False,
) -> Plan:
    """Tiles that keep the temporary storage below the limit; half of them if `symmetric`."""
    limit = min(memory_limit, _CPU_TILE) if queries.device.type == "cpu" else memory_limit
    elements = max(limit // (LIVE * queries.element_size()), 1)
    rows = max(min(len(queries), math.isqrt(elements)), 1)
    cols = rows if symmetric else max(min(len(keys), elements // rows), 1)
    return Plan(scale, mask, (rows, cols), symmetric)
