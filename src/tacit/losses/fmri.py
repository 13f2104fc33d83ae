"""Reconstruction of functional connectivity: node profiles and links; orthogonal node codes."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import softplus

from ._common import full_precision
from .sce import scaled_cosine_error


@full_precision
def masked_profile_loss(
    prediction: Float[Tensor, "*batch rois rois"],
    fc: Float[Tensor, "*batch rois rois"],
    node_mask: Shaped[Tensor, "*batch rois"],
    *,
    kind: Literal["mse", "sce"] = "mse",
    alpha: float = 2.0,
) -> Float[Tensor, ""]:
    r"""Reconstruction of the connection profiles of masked nodes.

    .. math:: L_x = \text{mean}_{i \in M, j \neq i} (R_{ij} - \hat X_{ij})^2

    The diagonal, which is always 1, does not count. ``kind="sce"`` is the scaled cosine error of
    GraphMAE, the mean over masked nodes of :math:`(1 - \cos(R_i, \hat X_i))^\alpha`, also without
    the diagonal; see `scaled_cosine_error`.

    Parameters
    ----------
    prediction, fc
        Reconstructed and true profiles, row i of node i.
    node_mask
        True at the nodes that were hidden.
    kind, alpha
        The error, and the exponent of the scaled cosine error.

    Raises
    ------
    ValueError
        No node is masked, or shapes differ.

    References
    ----------
    Choi et al., A Generative Self-Supervised Framework using Functional Connectivity in fMRI Data,
    2023: reconstructed from memory of the paper, which has no public code.

    Examples
    --------
    >>> fc = torch.eye(3)
    >>> masked_profile_loss(fc + 0.5, fc, torch.tensor([True, False, False]))
    tensor(0.2500)
    """
    if prediction.shape != fc.shape or node_mask.shape != fc.shape[:-1]:
        raise ValueError(
            f"prediction {tuple(prediction.shape)}, fc {tuple(fc.shape)} and node_mask "
            f"{tuple(node_mask.shape)} must be (..., N, N), (..., N, N) and (..., N)"
        )
    node_mask = node_mask.bool()
    if not bool(node_mask.any()):
        raise ValueError("no node is masked, so there is nothing to reconstruct; raise node_ratio")
    n = fc.shape[-1]
    other = ~torch.eye(n, dtype=torch.bool, device=fc.device)
    if kind == "mse":
        wanted = (node_mask[..., None] & other).to(fc.dtype)
        return ((prediction - fc).square() * wanted).sum() / (node_mask.sum() * (n - 1))
    if kind != "sce":
        raise ValueError(f"kind must be 'mse' or 'sce', got {kind!r}")
    rows, profiles = (prediction * other)[node_mask], (fc * other)[node_mask]
    return scaled_cosine_error(rows, profiles, alpha)


def edge_logits(P: Float[Tensor, "*batch rois dim"]) -> Float[Tensor, "*batch rois rois"]:
    r"""Scores of all links from edge codes: :math:`p_i \cdot p_j / \sqrt d`.

    >>> edge_logits(torch.eye(4))[0, 0]
    tensor(0.5000)
    """
    return P @ P.transpose(-1, -2) / P.shape[-1] ** 0.5


@full_precision
def balanced_edge_bce(
    logits: Float[Tensor, "*batch rois rois"],
    adj: Shaped[Tensor, "*batch rois rois"],
    edge_mask: Shaped[Tensor, "*batch rois rois"],
    *,
    gather: bool = False,
) -> Float[Tensor, ""]:
    r"""Binary cross-entropy of the masked pairs, links and non-links weighing the same.

    .. math:: L_a = \tfrac12 [\text{mean}_{masked, A=1} \log(1 + e^{-s})
        + \text{mean}_{masked, A=0} \log(1 + e^{s})]

    Where all masked pairs are of one kind, the mean of that kind alone; without masked pairs 0.

    Parameters
    ----------
    logits
        Scores s.
    adj
        True links (boolean, or 0 and 1).
    edge_mask
        Pairs that were hidden and count.
    gather
        Take both means over the pairs of all processes: the average of their losses is then the
        loss of all pairs together.

    References
    ----------
    Choi et al., 2023: reconstructed from memory of the paper, which has no public code.

    Examples
    --------
    >>> adj = torch.tensor([[True, True], [True, True]])
    >>> mask = torch.tensor([[False, True], [True, False]])
    >>> balanced_edge_bce(torch.zeros(2, 2), adj, mask)
    tensor(0.6931)
    """
    if not logits.shape == adj.shape == edge_mask.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)}, adj {tuple(adj.shape)} and edge_mask "
            f"{tuple(edge_mask.shape)} must have the same shape"
        )
    adj, edge_mask = adj.bool(), edge_mask.bool()
    links, others = edge_mask & adj, edge_mask & ~adj
    counts = torch.stack([links.sum(), others.sum()]).to(logits.dtype)
    if gather:
        from tacit.distributed import all_reduce_mean

        counts = all_reduce_mean(counts)
    terms = [
        (softplus(sign * logits) * kind).sum() / count
        for sign, kind, count in ((-1.0, links, counts[0]), (1.0, others, counts[1]))
        if count > 0
    ]
    return torch.stack(terms).mean() if terms else logits.sum() * 0.0


@full_precision
def orthogonality_penalty(h: Float[Tensor, "*graphs rois dim"]) -> Float[Tensor, ""]:
    r"""Push the codes of the nodes of a graph to be orthogonal.

    .. math:: \text{mean}_g \| \text{triu}(H H^T / \max_j (H H^T)_{ij} - I) \|_F

    The maximum is that of each row; the upper triangle includes the diagonal. A node whose code is
    zero stays zero (0/0 in the official code). Weight in STAGIN: 1e-5, added over layers.

    References
    ----------
    Kim, Ye, Kim, 2021 (STAGIN), official code.

    Examples
    --------
    >>> orthogonality_penalty(torch.eye(3)), orthogonality_penalty(torch.ones(2, 1))
    (tensor(0.), tensor(1.))
    """
    inner = h @ h.transpose(-1, -2)
    largest = inner.amax(-1, keepdim=True)
    scaled = inner / torch.where(largest == 0, torch.ones_like(largest), largest)
    eye = torch.eye(h.shape[-2], dtype=h.dtype, device=h.device)
    return torch.linalg.matrix_norm((scaled - eye).triu()).mean()
