"""How often a view finds its partner in the batch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_views, full_precision, unit_rows
from ._mask import Mask
from ._tiles import tiles_for
from .tiled import MEMORY_LIMIT


@full_precision
@torch.no_grad()
def pair_accuracy(
    z1: Float[Tensor, "batch dim"], z2: Float[Tensor, "batch dim"], *, gather: bool = False
) -> Float[Tensor, ""]:
    """Share of the 2N embeddings whose partner is nearer, by cosine, than all 2N - 2 others.

    The accuracy of the classification that NT-Xent trains; a tie counts as found.

    Parameters
    ----------
    z1, z2
        Embeddings of two views, row i of both from the same instance.
    gather
        Look among the embeddings of all processes.

    Examples
    --------
    >>> pair_accuracy(torch.eye(3), torch.eye(3))
    tensor(1.)
    """
    check_views(z1, z2)
    u1, u2 = unit_rows(z1, "z1"), unit_rows(z2, "z2")
    all1, all2, start, weight = u1, u2, 0, 1.0
    if gather:
        from tacit.distributed import all_gather, count_rows

        counts = count_rows(len(u1), u1.device)
        all1, all2 = all_gather(u1, counts), all_gather(u2, counts)
        start, weight = counts.first, counts.weight
    n, total = len(u1), len(all1)
    own = torch.arange(n, device=u1.device) + start
    positive = (u1 * u2).sum(1).repeat(2)
    rows, others = torch.cat([u1, u2]), torch.cat([all1, all2])
    mask = Mask(own.repeat(2), torch.arange(total, device=u1.device).repeat(2))
    plan = tiles_for(rows, others, 1.0, mask, MEMORY_LIMIT)
    nearest = torch.full_like(positive, -torch.inf)
    for (row, col, masked), similarity, _ in plan.logits(rows, others):
        if masked:
            similarity.masked_fill_(plan.excluded(row, col), -torch.inf)
        nearest[row] = torch.maximum(nearest[row], similarity.amax(1))
    return weight * (positive >= nearest).to(u1.dtype).mean()
