"""Corruptions of graphs: masked node features and dropped edges."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MaskedNodes(NamedTuple):
    """Which nodes are hidden, and how.

    masked : (M,) all masked nodes, in random order: the loss is over these.
    token : those whose features become the token.
    noise : those whose features become another node's.
    noise_source : the nodes that `noise` copies, in the same order.
    """

    masked: Tensor
    token: Tensor
    noise: Tensor
    noise_source: Tensor


def draw_masked_nodes(
    num_nodes: int,
    mask_rate: float,
    replace_rate: float = 0.0,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> MaskedNodes:
    """Draw M = int(mask_rate N) nodes, int((1 - r) M) for the token and int(r M) for noise.

    Both counts are truncated as in the official code, so one masked node may keep its features.
    Where r M < 1 there is no noise node.

    Raises
    ------
    ValueError : a rate outside its range, or no node to mask.

    >>> nodes = draw_masked_nodes(16, 0.5, 0.3)
    >>> len(nodes.masked), len(nodes.token), len(nodes.noise)
    (8, 5, 2)
    """
    if not 0 <= replace_rate <= 1:
        raise ValueError(f"replace_rate must be in [0, 1], not {replace_rate}")
    if not 0 < mask_rate <= 1:
        raise ValueError(
            f"mask_rate must be in (0, 1], not {mask_rate}: the loss is a mean over masked nodes"
        )
    count = int(mask_rate * num_nodes)
    if count == 0:
        raise ValueError(
            f"mask_rate {mask_rate} of {num_nodes} nodes masks none of them; "
            "use a larger rate or more nodes in a batch"
        )

    def permutation(n: int) -> Tensor:
        where = device if generator is None else generator.device
        return torch.randperm(n, generator=generator, device=where).to(device)

    masked = permutation(num_nodes)[:count]
    if replace_rate == 0:
        return MaskedNodes(masked, masked, masked[:0], masked[:0])
    n_noise = int(replace_rate * count)
    order = masked[permutation(count)]
    token, noise = order[: int((1 - replace_rate) * count)], order[count - n_noise :]
    return MaskedNodes(masked, token, noise, permutation(num_nodes)[:n_noise])


def mask_node_features(
    x: Tensor,
    mask_token: Tensor,
    mask_rate: float,
    replace_rate: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features with a random share of the nodes hidden.

    Parameters
    ----------
    x : (N, F) features; not changed.
    mask_token : (F,) or (1, F), what hidden nodes show; may be a parameter.
    mask_rate : share of the nodes that is hidden.
    replace_rate : share of the hidden nodes that shows a random node's features instead.
    generator : source of the random numbers; torch's global one by default.

    Returns
    -------
    x_masked (N, F), masked_idx (M,) all hidden nodes, noise_idx those with another node's features.

    References
    ----------
    Hou et al., GraphMAE, 2022, section 3.2.

    >>> x, hidden, noise = mask_node_features(torch.ones(10, 3), torch.zeros(3), 0.5)
    >>> int(x[:, 0].sum()), len(hidden), len(noise)
    (5, 5, 0)
    """
    nodes = draw_masked_nodes(x.shape[0], mask_rate, replace_rate, generator, x.device)
    out = x.index_fill(0, nodes.token, 0.0)
    token = mask_token.reshape(1, -1).to(x.dtype).expand(len(nodes.token), -1)
    out = out.index_add(0, nodes.token, token)
    if len(nodes.noise):
        out = out.index_copy(0, nodes.noise, x[nodes.noise_source])
    return out, nodes.masked, nodes.noise


def drop_edges(edge_index: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Every directed edge (2, E), self-loops too, stays with probability 1 - p.

    Raises
    ------
    ValueError : p outside [0, 1).

    >>> drop_edges(torch.tensor([[0, 1], [1, 0]]), 0.0).shape
    torch.Size([2, 2])
    """
    if not 0 <= p < 1:
        raise ValueError(f"the share of dropped edges must be in [0, 1), not {p}")
    if p == 0:
        return edge_index
    where = edge_index.device if generator is None else generator.device
    keep = torch.full((edge_index.shape[1],), 1 - p, device=where, dtype=torch.float32)
    kept = torch.bernoulli(keep, generator=generator).bool().to(edge_index.device)
    return edge_index[:, kept]


def draw_masked_atoms(
    batch: Tensor, mask_rate: float, generator: torch.Generator | None = None
) -> Tensor:
    """int(mask_rate n + 1) random nodes of every graph of n nodes, at most all: (M,) positions.

    Parameters
    ----------
    batch : (N,) graph of every node, sorted.

    >>> len(draw_masked_atoms(torch.tensor([0] * 8 + [1]), 0.25))
    4
    """
    sizes = torch.bincount(batch)
    counts = (mask_rate * sizes.double() + 1).long().clamp(max=sizes)
    where = batch.device if generator is None else generator.device
    keys = torch.rand(len(batch), generator=generator, device=where).to(batch.device)
    order = torch.argsort(keys)
    order = order[torch.argsort(batch[order], stable=True)]  # random within every graph
    rank = torch.arange(len(batch), device=batch.device) - (sizes.cumsum(0) - sizes)[batch]
    return order[rank < counts[batch]]
