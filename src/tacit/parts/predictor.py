"""Predictors that are set in closed form, not trained: DirectPred, DirectCopy and their kin."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tacit.distributed import copy_whole_
from tacit.errors import CollapseError

from .closed_form import directcopy_weight, directpred_weight
from .correlation import CorrelationEMA
from .generator import SharedGenerator
from .optimal import half_rank_weight, minimal_space_weight, solve_weight
from .regularise import symmetrise_

PredictorMode = Literal["directpred", "directcopy", "solve", "minimal_space", "half_rank"]
_WITH_TARGETS = ("solve", "minimal_space")
_DEFAULT_EPS = {"directcopy": 0.3, "half_rank": 1e-5}


class ClosedFormPredictor(nn.Module):
    """Linear predictor without bias whose weight is set from the statistics of its inputs.

    In a training step: ``observe`` the online embeddings, ``forward`` them (with the weight of the
    previous step), and ``refresh`` after the optimiser step.

    Parameters
    ----------
    dim
        Length of the embeddings.
    mode
        ``"directpred"`` or ``"directcopy"``; ``"solve"`` or ``"minimal_space"``, fits of the
        target network's embeddings (:func:`solve_weight`, :func:`minimal_space_weight`);
        ``"half_rank"``, a random projector (:func:`half_rank_weight`).
    rho
        Memory of the correlation (:class:`CorrelationEMA`).
    eps
        Floor of the eigenvalues; the ridge of the fits. Default: 0.3 for DirectCopy, 1e-5 for
        ``"half_rank"``, else 0.01.
    freq
        Set the weight at steps that this divides. With 1 the weight has no gradient; above 1 it is
        trained between; 0 never sets it (a trained linear predictor).
    normalize
        DirectCopy: divide by the spectral norm.
    zero_mean
        Use the covariance in the place of the uncentred correlation.
    diagonal
        Use only the diagonal of the correlation.
    root, eps_inside, shrink, min_eig
        As in :func:`directpred_weight`.

    Examples
    --------
    >>> import torch
    >>> predictor = ClosedFormPredictor(4)
    >>> f = torch.randn(16, 4)
    >>> predictor.observe(f, f)
    >>> predictor.refresh(0)
    >>> predictor(f).shape
    torch.Size([16, 4])
    """

    def __init__(
        self,
        dim: int,
        mode: PredictorMode = "directpred",
        rho: float = 0.3,
        eps: float | None = None,
        freq: int = 1,
        *,
        normalize: bool = False,
        zero_mean: bool = False,
        diagonal: bool = False,
        root: float = 2.0,
        eps_inside: bool = False,
        shrink: float = 0.0,
        min_eig: float = 1e-4,
    ) -> None:
        super().__init__()
        if mode not in get_args(PredictorMode):
            raise ValueError(f"mode must be one of {get_args(PredictorMode)}, got {mode!r}")
        if freq < 0:
            raise ValueError(f"freq must not be negative, got {freq}")
        self.mode, self.freq = mode, freq
        self.eps = _DEFAULT_EPS.get(mode, 0.01) if eps is None else eps
        self.normalize, self.zero_mean, self.diagonal = normalize, zero_mean, diagonal
        self.root, self.eps_inside, self.shrink, self.min_eig = root, eps_inside, shrink, min_eig
        cross = mode in _WITH_TARGETS
        self.correlation = CorrelationEMA(dim, rho, track_mean=zero_mean, track_cross=cross)
        self.random = SharedGenerator() if mode == "half_rank" else None
        # The start of a linear layer; used until the first refresh.
        start = torch.empty(dim, dim)
        nn.init.kaiming_uniform_(start, a=math.sqrt(5))
        self.weight = nn.Parameter(start, requires_grad=freq != 1)

    def forward(self, f: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Predictions ``f W^T``."""
        return nn.functional.linear(f, self.weight)

    def observe(
        self,
        *views: Float[Tensor, "batch dim"],
        targets: Sequence[Float[Tensor, "batch dim"]] | None = None,
    ) -> None:
        """Take the online embeddings of the batch into the statistics.

        ``targets``: for every view what it has to predict; the fits need them.
        """
        self.correlation.update(*views, targets=targets)

    @torch.no_grad()
    def refresh(self, step: int) -> None:
        """Set the weight if ``freq`` divides ``step`` (counted from 0).

        With an all-zero correlation the previous weight stays, with a warning.
        """
        if self.freq == 0 or step % self.freq:
            if self.mode == "minimal_space":
                symmetrise_(self.weight)
            return
        F = self.correlation.covariance if self.zero_mean else self.correlation.corr
        if self.diagonal:
            F = torch.diag(F.diagonal())
        try:
            copy_whole_(self.weight, self._weight(F))
        except CollapseError as error:
            warnings.warn(
                f"step {step}: {error}; the predictor is unchanged", RuntimeWarning, stacklevel=2
            )

    def _weight(self, F: Tensor) -> Tensor:
        if self.mode == "directcopy":
            return directcopy_weight(F, eps=self.eps, normalize=self.normalize)
        if self.random is not None:
            return half_rank_weight(len(F), eps=self.eps, generator=self.random.next())
        if self.mode in _WITH_TARGETS:
            statistics = self.correlation
            cross = statistics.cross_covariance if self.zero_mean else statistics.cross
            fit = solve_weight if self.mode == "solve" else minimal_space_weight
            return fit(F, cross, ridge=self.eps)
        return directpred_weight(
            F,
            eps=self.eps,
            root=self.root,
            eps_inside=self.eps_inside,
            shrink=self.shrink,
            min_eig=self.min_eig,
        )
