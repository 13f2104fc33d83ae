"""Which pairs of the pairwise matrix are left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mask(NamedTuple):
    """Which pairs (row, column) are left out of the sums."""

    row_ids: Tensor | None = None
    col_ids: Tensor | None = None
    self_index: Tensor | None = None
    only_equal: bool = False

    def excluded(self, rows: slice, cols: slice) -> Tensor | None:
        """Boolean matrix of a tile; ``None`` without a mask."""
        out = None
        if self.row_ids is not None and self.col_ids is not None:
            same = self.row_ids[rows, None] == self.col_ids[None, cols]
            out = ~same if self.only_equal else same
        if self.self_index is not None:
            columns = torch.arange(cols.start, cols.stop, device=self.self_index.device)
            own = self.self_index[rows, None] == columns
            out = own if out is None else out | own
        return out

    def is_symmetric(self) -> bool:
        """Whether (i, j) is left out where (j, i) is, for rows that are also the columns."""
        ids, own = self.row_ids, self.self_index
        if ids is not None and self.col_ids is not None and not bool((ids == self.col_ids).all()):
            return False
        return own is None or bool((own == torch.arange(len(own), device=own.device)).all())

    def check(self, rows: int, cols: int) -> None:
        """Raise ``ValueError`` on ids that do not fit the matrix."""
        if (self.row_ids is None) != (self.col_ids is None):
            raise ValueError("row_ids and col_ids belong together: give both or neither")
        for name, ids, length in (
            ("row_ids", self.row_ids, rows),
            ("col_ids", self.col_ids, cols),
            ("self_index", self.self_index, rows),
        ):
            if ids is not None and ids.shape != (length,):
                raise ValueError(f"{name} must have shape ({length},), got {tuple(ids.shape)}")

    def without(self, padding: Tensor) -> Mask:
        """The mask of the matrix without the columns where `padding` is true."""
        kept = ~padding
        col_ids = None if self.col_ids is None else self.col_ids[kept]
        own = self.self_index
        if own is not None:
            place = torch.where(kept, kept.cumsum(0) - 1, -1)
            place = torch.cat([place, place.new_tensor([-1])])  # -1 stays -1
            own = place[own]
        return self._replace(col_ids=col_ids, self_index=own)


def only_equal(match: str) -> bool:
    """Whether pairs of equal groups are the only ones that count."""
    if match not in ("exclude", "only"):
        raise ValueError(f"match must be 'exclude' or 'only', got {match!r}")
    return match == "only"


def raise_if_empty(lse: Tensor) -> None:
    """Raise ``ValueError`` if a row has nothing to sum over."""
    empty = torch.isneginf(lse.detach()).nonzero()
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {len(lse)} rows (first: row {int(empty[0])}) have every column "
            "masked, so there is nothing to sum over; use a larger batch or check the ids (a batch "
            "of one instance has no negatives)"
        )
