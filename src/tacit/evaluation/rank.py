"""How many dimensions an embedding uses: RankMe and its relatives, without labels."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from .inputs import Rows, Values, check_matrix, to_tensor, unit_rows
from .spectrum import Spectrum, exp_entropy


def warn_few_rows(n: int, d: int, stacklevel: int = 3) -> None:
    """Warn where the number of rows, not the representation, bounds the rank."""
    if n < 2 * d:
        warnings.warn(
            f"{n} rows of width {d}: the rank can't exceed the number of rows; use at least "
            f"{2 * d} rows for a rank that says something about the encoder.",
            stacklevel=stacklevel,
        )


def rankme_of(singular: Tensor, eps: float = 1e-7) -> float:
    """RankMe from singular values."""
    return exp_entropy(singular / singular.sum() + eps)


def rankme(Z: Rows, *, eps: float = 1e-7, center: bool = False, normalize: bool = False) -> float:
    """Effective rank of the embeddings: ``exp(-sum_k p_k ln p_k)``, p_k = s_k / sum(s) + eps.

    s are the singular values of Z, by default neither centred nor row-normalised, as in the paper.
    Compare runs of one method on one data set with the same number of rows: high rank is
    necessary for a good linear probe, not sufficient.

    Parameters
    ----------
    Z : (N, d) embeddings, usually the projector's outputs on about 25,600 training samples.
    eps : added after the normalisation, so the value may exceed min(N, d) by a little.
    center : subtract the column means first.
    normalize : scale the rows to unit length first.

    Returns
    -------
    float between 1 and about min(N, d); higher is better.

    Raises
    ------
    ValueError : rows with NaN or infinite values. CollapseError : all embeddings are zero.

    References
    ----------
    Garrido et al., RankMe, ICML 2023, eq. 1 (arXiv 2210.02885).

    >>> import torch, warnings
    >>> warnings.simplefilter("ignore")
    >>> round(rankme(torch.diag(torch.tensor([3.0, 1.0]))), 5)
    1.75477
    """
    check_matrix(Z, "Z")
    warn_few_rows(*Z.shape)
    if center or normalize:
        spectrum = Spectrum(Z)
        if not normalize:
            # The covariance eigenvalues are the squared singular values of the centred matrix.
            return rankme_of(spectrum.varying.sqrt(), eps)
        spectrum.singular  # noqa: B018 - raises on all-zero embeddings
        unit = Spectrum(unit_rows(to_tensor(Z, torch.float64)), check=False)
        return rankme_of(unit.varying.sqrt() if center else unit.singular, eps)
    return rankme_of(Spectrum(Z).singular, eps)


def spectral_entropy_of(spectrum: Spectrum, on: str) -> float:
    """Shannon entropy in nats of the normalised spectrum."""
    values = spectrum.singular if on == "singular" else spectrum.varying
    return float(torch.special.entr(values / values.sum()).sum())


def spectral_entropy(Z: Rows, *, on: Literal["singular", "eigen"] = "singular") -> float:
    """Entropy (nats) of the normalised spectrum: ``-sum_k p_k ln p_k``.

    ``on="singular"`` uses the singular values of the uncentred Z, as RankMe does (RankMe is its
    exponential, up to eps); ``on="eigen"`` uses the eigenvalues of the covariance, as the Vendi
    score does, and so weighs the leading directions more.

    >>> import torch
    >>> round(spectral_entropy(torch.eye(4)), 4)   # ln 4
    1.3863
    """
    if on not in ("singular", "eigen"):
        raise ValueError(f"on must be 'singular' or 'eigen', not {on!r}.")
    return spectral_entropy_of(Spectrum(Z), on)


def stable_rank(Z: Rows) -> float:
    """Stable (numerical) rank ``||Z||_F^2 / s_1^2`` of the uncentred matrix; higher is better.

    >>> import torch
    >>> round(stable_rank(torch.diag(torch.tensor([3.0, 1.0]))), 4)
    1.1111
    """
    return stable_rank_of(Spectrum(Z).singular)


def stable_rank_of(singular: Tensor) -> float:
    return float((singular / singular[0]).square().sum())


def nesum(Z: Rows) -> float:
    """NESum ``sum_j l_j / l_1`` of the covariance eigenvalues: in [1, d], higher is whiter.

    References
    ----------
    He & Ozay, ICML 2022, definition 4.1.

    >>> import torch
    >>> round(nesum(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
    3.0
    """
    return nesum_of(Spectrum(Z).varying)


def nesum_of(eigen: Tensor) -> float:
    return float(eigen.sum() / eigen[0])


def participation_ratio(Z: Rows) -> float:
    """Participation ratio ``(sum l)^2 / sum l^2`` of the covariance eigenvalues, in [1, d].

    >>> import torch
    >>> round(participation_ratio(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
    3.0
    """
    return participation_ratio_of(Spectrum(Z).varying)


def participation_ratio_of(eigen: Tensor) -> float:
    share = eigen / eigen.sum()
    return float(1 / share.square().sum())


def covariance_rank(Z: Rows, *, tol: float = 1e-5) -> int:
    """Number of covariance eigenvalues above `tol` (an absolute threshold, not scale-free).

    >>> import torch
    >>> covariance_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    1
    """
    return int((Spectrum(Z).eigen > tol).sum())


def condition_number(Z: Rows) -> float:
    """Pseudo-condition number ``s_K / s_1`` in [0, 1], K = min(N, d); higher is better spread.

    >>> import torch
    >>> round(condition_number(torch.diag(torch.tensor([3.0, 1.0]))), 4)
    0.3333
    """
    return condition_number_of(Spectrum(Z).singular)


def condition_number_of(singular: Tensor) -> float:
    return float(singular[-1] / singular[0])


def power_law_exponent(
    eigen: Tensor, ranks: tuple[int, int] = (4, 100), weighted: bool = True
) -> float:
    """Exponent alpha of eigen_j ~ j^-alpha by least squares of ln eigen on ln rank."""
    first, last = ranks
    if not 1 <= first < last:
        raise ValueError(f"ranks must be (first, last) with 1 <= first < last, not {ranks}.")
    # Directions at rounding level are a cliff, not part of a power law.
    floor = eigen.max() * len(eigen) * torch.finfo(torch.float64).eps
    positive = int((eigen > floor).sum())
    last = min(last, positive)
    if last <= first:
        raise ValueError(
            f"a power law on ranks {ranks[0]}..{ranks[1]} needs at least {first + 1} positive "
            f"eigenvalues, but there are {positive}. Start at a lower rank, e.g. ranks=(1, 100)."
        )
    rank = torch.arange(first, last + 1, dtype=torch.float64, device=eigen.device)
    x, y = rank.log(), eigen[first - 1 : last].log()
    w = 1 / rank if weighted else torch.ones_like(rank)
    w = w / w.sum()
    dx, dy = x - (w * x).sum(), y - (w * y).sum()
    return float(-(w * dx * dy).sum() / (w * dx * dx).sum())


def alpha_req(
    Z: Rows | Values, *, ranks: tuple[int, int] = (4, 100), weighted: bool = True
) -> float:
    """Decay exponent alpha of the covariance eigenvalues, ``l_j ~ j^-alpha``.

    The target is near 1: much smaller means noise dimensions, much larger means collapse.

    Parameters
    ----------
    Z : (N, d) embeddings, or (k,) eigenvalues of the centred covariance, largest first.
    ranks : first and last rank (1-based, inclusive) of the fit; the last one is cut to the number
        of positive eigenvalues.
    weighted : weights 1/rank as in the authors' code; False is plain least squares.

    References
    ----------
    Agrawal et al., alpha-ReQ, NeurIPS 2022.

    >>> import torch
    >>> round(alpha_req(torch.arange(1, 65).double() ** -1.5), 6)
    1.5
    """
    if Z.ndim == 1:
        eigen = to_tensor(Z, torch.float64)
        if not bool(torch.isfinite(eigen).all()):
            raise ValueError("the eigenvalues hold NaN or infinite values.")
    else:
        eigen = Spectrum(Z).varying
    return power_law_exponent(eigen, ranks, weighted)
