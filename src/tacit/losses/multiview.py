"""Contrastive losses over any number of views: one term per instance, per anchor, poly-view."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._common import check_positive, check_views, full_precision, unit_rows
from ._views import MultiViews, gather_views, stack_views, view_similarities
from .tiled import pairwise_logsumexp


def _prepare(
    views: MultiViews, temperature: float, gather: bool = False
) -> Float[Tensor, "views batch dim"]:
    check_positive("temperature", temperature)
    z = unit_rows(stack_views(views, minimum=1), "views")
    return stack_views(gather_views(z) if gather else z)


def _is_paper(variant: str) -> bool:
    if variant not in ("code", "paper"):
        raise ValueError(f"variant must be 'code' or 'paper', got {variant!r}")
    return variant == "paper"


def _positives(z: Tensor, temperature: float) -> Float[Tensor, "views batch"]:
    """log sum over the other views of exp(similarity / temperature), for every anchor."""
    return torch.logsumexp(view_similarities(z) / temperature, dim=2)


def _energies(
    z: Tensor, temperature: float, include_self: bool = False
) -> Float[Tensor, "views batch"]:
    """log E_il: the other instances of the same view."""
    own = None if include_self else torch.arange(z.shape[1], device=z.device)
    return torch.stack([pairwise_logsumexp(v, v, 1 / temperature, self_index=own) for v in z])


def _all_others(z: Tensor, temperature: float) -> Float[Tensor, "views batch"]:
    """log sum over every other embedding, of any view and instance."""
    flat = z.flatten(0, 1)
    own = torch.arange(len(flat), device=z.device)
    return pairwise_logsumexp(flat, flat, 1 / temperature, self_index=own).view(z.shape[:2])


def _cross_view(z: Tensor, temperature: float) -> Float[Tensor, "views batch"]:
    """log sum over every instance in all other views."""
    flat = z.flatten(0, 1)
    view = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
    lse = pairwise_logsumexp(flat, flat, 1 / temperature, row_ids=view, col_ids=view)
    return lse.view(z.shape[:2])


@full_precision
def mv_infonce_loss(
    views: MultiViews, *, temperature: float = 0.5, variant: str = "code", gather: bool = False
) -> Float[Tensor, ""]:
    r"""Multi-view InfoNCE: all view pairs of an instance in one ratio.

    .. math:: L = -\frac{1}{M} \sum_i \log \frac
        {\sum_l \sum_{l' \ne l} e(U_{il}, U_{il'})}{\sum_l \sum_{(j,m) \ne (i,l)} e(U_{il}, U_{jm})}
        , \quad e(a, b) = \exp(\langle a, b \rangle / \tau)

    Parameters
    ----------
    views
        (V, M, d) tensor or a list of V tensors (M, d): V views of M instances, of any scale.
    temperature
        :math:`\tau`.
    variant
        ``"code"``, the released form above; ``"paper"``, the printed one, whose denominator runs
        over the other views only (:math:`m \ne l`, every j).
    gather
        Use the instances of all processes (differentiable).

    Returns
    -------
    Tensor
        Scalar, never negative.

    Raises
    ------
    ValueError
        On fewer than two views or instances, views of different shape, a temperature that is not
        positive, or NaN.

    References
    ----------
    Koromilas et al., A Principled Framework for Multi-View Contrastive Learning, 2025.

    Examples
    --------
    >>> import torch
    >>> mv_infonce_loss([torch.eye(2), torch.eye(2)], temperature=1.0)
    tensor(0.5514)
    """
    paper = _is_paper(variant)
    z = _prepare(views, temperature, gather)
    rest = _cross_view(z, temperature) if paper else _all_others(z, temperature)
    return (rest.logsumexp(0) - _positives(z, temperature).logsumexp(0)).mean()


@full_precision
def mv_dhel_loss(
    views: MultiViews, *, temperature: float = 0.5, variant: str = "code", gather: bool = False
) -> Float[Tensor, ""]:
    r"""Multi-view decoupled hyperspherical energy loss: alignment across views, energy inside each.

    .. math:: L = \frac{1}{M} \sum_i \Big[ -\log \sum_{l < l'} e(U_{il}, U_{il'})
        + \sum_l \log \sum_{j \ne i} e(U_{il}, U_{jl}) \Big]

    The energy of a view has no gradient with respect to another view. The value grows with V.

    Parameters
    ----------
    views, temperature, gather
        As in :func:`mv_infonce_loss`.
    variant
        ``"code"``, the released form above; ``"paper"``, the printed one: ordered pairs in the
        numerator (lower by :math:`\log 2`) and :math:`j = i` in the energies.

    Returns
    -------
    Tensor
        Scalar, unbounded below zero.

    References
    ----------
    Koromilas et al., A Principled Framework for Multi-View Contrastive Learning, 2025.

    Examples
    --------
    >>> import torch
    >>> mv_dhel_loss([torch.eye(2), torch.eye(2)], temperature=0.5)
    tensor(-2.)
    """
    paper = _is_paper(variant)
    z = _prepare(views, temperature, gather)
    energies = _energies(z, temperature, include_self=paper).sum(0)
    ordered = _positives(z, temperature).logsumexp(0)
    # Every unordered pair is in `ordered` twice.
    numerator = ordered if paper else ordered - torch.log(ordered.new_tensor(2.0))
    return (energies - numerator).mean()


@full_precision
def dhel_loss(
    z1: Float[Tensor, "batch dim"],
    z2: Float[Tensor, "batch dim"],
    *,
    temperature: float = 0.3,
    include_augs: bool = True,
) -> Float[Tensor, ""]:
    r"""Decoupled hyperspherical energy loss of two views.

    .. math:: L = -\frac{1}{M} \sum_i \log \frac{e(u_i, v_i)}{E_i(u) E_i(v)}, \qquad
              E_i(u) = \sum_{j \ne i} e(u_i, u_j)

    Equal to :func:`mv_dhel_loss` of two views.

    Parameters
    ----------
    z1, z2
        (M, d) anchors u and positives v, of any scale.
    include_augs
        ``False`` drops :math:`E_i(v)`, the energy of the positives.

    References
    ----------
    Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis in Contrastive Learning, ICML
    2024.

    Examples
    --------
    >>> import torch
    >>> dhel_loss(torch.eye(2), torch.eye(2), temperature=0.5)
    tensor(-2.)
    """
    check_positive("temperature", temperature)
    check_views(z1, z2, minimum=2)
    u, v = unit_rows(z1, "z1"), unit_rows(z2, "z2")
    scored = torch.stack([u, v]) if include_augs else u[None]
    return (_energies(scored, temperature).sum(0) - (u * v).sum(1) / temperature).mean()


@full_precision
def cl1_loss(views: MultiViews, *, temperature: float = 0.5) -> Float[Tensor, ""]:
    r"""Per-anchor multi-view numerator over the cross-view energy (released as ``CL_1``).

    .. math:: L = -\frac{1}{V M} \sum_{i,l} \log \frac{\sum_{l' \ne l} e(U_{il}, U_{il'})}
        {\sum_{m \ne l} \sum_j e(U_{il}, U_{jm})}

    Parameters
    ----------
    views, temperature
        As in :func:`mv_infonce_loss`.

    Examples
    --------
    >>> import torch
    >>> cl1_loss([torch.eye(2), torch.eye(2)], temperature=1.0)
    tensor(0.3133)
    """
    z = _prepare(views, temperature)
    return (_cross_view(z, temperature) - _positives(z, temperature)).mean()


@full_precision
def cl2_loss(views: MultiViews, *, temperature: float = 0.2) -> Float[Tensor, ""]:
    r"""Per-anchor numerator with the energies of all views (released as ``CL_2``).

    .. math:: L = \frac{1}{V M} \sum_{i,l} \Big[ -\log \sum_{l' \ne l} e(U_{il}, U_{il'})
        + \sum_m \log \sum_{j \ne i} e(U_{im}, U_{jm}) \Big]

    Parameters
    ----------
    views, temperature
        As in :func:`mv_infonce_loss`.

    Examples
    --------
    >>> import torch
    >>> cl2_loss([torch.eye(2), torch.eye(2)], temperature=0.5)
    tensor(-2.)
    """
    z = _prepare(views, temperature)
    return (_energies(z, temperature).sum(0) - _positives(z, temperature)).mean()


@full_precision
def pvc_loss(
    views: MultiViews, *, temperature: float = 0.2, method: str = "geometric"
) -> Float[Tensor, ""]:
    r"""Poly-view contrastive loss.

    .. math:: p_{i \alpha \beta} = \frac{e(U_{i \alpha}, U_{i \beta})}{e(U_{i \alpha}, U_{i \beta})
        + \sum_{j \ne i} \sum_m e(U_{i \alpha}, U_{jm})}

    ``"geometric"``: the mean of :math:`-\log p` over instances, anchors and positives.
    ``"arithmetic"``: the mean over instances and anchors of
    :math:`-\log \frac{1}{V - 1} \sum_{\beta \ne \alpha} p_{i \alpha \beta}`, per sample. (The
    multi-view repository aggregates batch means there instead, which is another quantity.) Both
    are NT-Xent at two views.

    Parameters
    ----------
    views, temperature
        As in :func:`mv_infonce_loss`.
    method
        ``"geometric"`` or ``"arithmetic"``.

    References
    ----------
    Shidani et al., Poly-View Contrastive Learning, ICLR 2024.

    Examples
    --------
    >>> import torch
    >>> pvc_loss([torch.eye(2), torch.eye(2)], temperature=1.0)
    tensor(0.5514)
    """
    if method not in ("geometric", "arithmetic"):
        raise ValueError(f"method must be 'geometric' or 'arithmetic', got {method!r}")
    z = _prepare(views, temperature)
    flat = z.flatten(0, 1)
    instance = torch.arange(z.shape[1], device=z.device).repeat(len(z))
    rest = pairwise_logsumexp(flat, flat, 1 / temperature, row_ids=instance, col_ids=instance)
    positive = view_similarities(z) / temperature
    # -log p = log(1 + exp(rest - positive))
    nll = torch.nn.functional.softplus(rest.view(z.shape[:2])[:, :, None] - positive)
    if method == "geometric":
        return nll.mean()
    return -(torch.logsumexp(-nll, dim=2).mean() - torch.log(nll.new_tensor(nll.shape[2])))
