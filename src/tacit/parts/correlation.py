"""Running correlation matrix of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tacit.distributed import all_reduce_mean, as_global_mean


class CorrelationEMA(nn.Module):
    r"""Moving average of the uncentred correlation of embeddings.

    .. math:: F \leftarrow \rho F + (1 - \rho) \, \text{mean}_i f_i f_i^T

    over the rows of all views of the batch (of all processes); the first batch sets F. Embeddings
    are used as they are, neither centred nor normalised, without gradient.

    Parameters
    ----------
    dim
        Length of the embeddings.
    rho
        Memory in [0, 1]; 0 keeps the current batch only.
    track_mean
        Average the mean by the same rule.
    track_cross
        Average ``cross``, the correlation mean_i k_i f_i^T with the target network's embeddings k
        of the same rows, by the same rule.

    The statistics are kept in float32, or in float64 from the first float64 batch on.

    References
    ----------
    Tian, Chen, Ganguli, Understanding self-supervised Learning Dynamics without Contrastive Pairs,
    2021, eq. 18.

    Examples
    --------
    >>> import torch
    >>> f = CorrelationEMA(2)
    >>> f.update(torch.eye(2), torch.eye(2))
    >>> f.corr
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """

    corr: Tensor
    mean: Tensor
    updates: Tensor
    cross: Tensor
    target_mean: Tensor

    def __init__(
        self, dim: int, rho: float = 0.3, track_mean: bool = False, track_cross: bool = False
    ) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if not 0 <= rho <= 1:
            raise ValueError(f"rho must be in [0, 1], got {rho}")
        self.dim, self.rho, self.track_mean, self.track_cross = dim, rho, track_mean, track_cross
        self.register_buffer("corr", torch.zeros(dim, dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if track_cross:
            self.register_buffer("cross", torch.zeros(dim, dim))
            self.register_buffer("target_mean", torch.zeros(dim))

    @torch.no_grad()
    def update(
        self,
        *views: Float[Tensor, "batch dim"],
        targets: Sequence[Float[Tensor, "batch dim"]] | None = None,
    ) -> None:
        """Take in the embeddings of one batch, one tensor a view.

        ``targets``, needed with ``track_cross``: for every view what it has to predict.

        Raises
        ------
        ValueError
            On a wrong shape, different batch sizes, or non-finite statistics.
        """
        if not views or any(v.ndim != 2 or v.shape[1] != self.dim for v in views):
            shapes = [tuple(v.shape) for v in views]
            raise ValueError(f"expected views (batch, {self.dim}), got {shapes}")
        if len({len(v) for v in views}) != 1 or len(views[0]) == 0:
            raise ValueError(f"views must have one batch size, got {[len(v) for v in views]}")
        with torch.autocast(self.corr.device.type, enabled=False):
            rows = self._rows(views)
            batch_corr = _global_mean(rows.T @ rows / len(rows), len(rows))
            if not bool(torch.isfinite(batch_corr).all()):
                raise ValueError(
                    f"the embeddings are not finite at update {int(self.updates)}; lower the "
                    "learning rate or check the input"
                )
            self.corr = self._average(self.corr, batch_corr)
            if self.track_mean:
                self.mean = self._average(self.mean, _global_mean(rows.mean(0), len(rows)))
            if self.track_cross:
                self._update_cross(rows, views, targets)
        self.updates = self.updates + 1

    def _update_cross(
        self, rows: Tensor, views: Sequence[Tensor], targets: Sequence[Tensor] | None
    ) -> None:
        if targets is None or [t.shape for t in targets] != [v.shape for v in views]:
            shapes = None if targets is None else [tuple(t.shape) for t in targets]
            raise ValueError(
                f"track_cross needs targets of the shapes of the views, one a view; got {shapes}"
            )
        goals = self._rows(targets)
        n = len(rows)
        self.cross = self._average(self.cross, _global_mean(goals.T @ rows / n, n))
        self.target_mean = self._average(self.target_mean, _global_mean(goals.mean(0), n))

    def _rows(self, views: Sequence[Tensor]) -> Tensor:
        rows = torch.cat([v.detach() for v in views])
        return rows.to(self.corr.device, torch.promote_types(rows.dtype, self.corr.dtype))

    def _average(self, old: Tensor, new: Tensor) -> Tensor:
        keep = self.rho if int(self.updates) else 0.0
        return keep * old.to(new.dtype) + (1 - keep) * new

    @property
    def covariance(self) -> Float[Tensor, "dim dim"]:
        """``F - mean mean^T``; needs ``track_mean=True``."""
        if not self.track_mean:
            raise ValueError("the mean is not tracked; make CorrelationEMA with track_mean=True")
        return self.corr - torch.outer(self.mean, self.mean)

    @property
    def cross_covariance(self) -> Float[Tensor, "dim dim"]:
        """``cross - target_mean mean^T``; needs ``track_mean`` and ``track_cross``."""
        if not (self.track_mean and self.track_cross):
            raise ValueError("cross_covariance needs track_mean=True and track_cross=True")
        return self.cross - torch.outer(self.target_mean, self.mean)


def _global_mean(mean: Tensor, n: int) -> Tensor:
    """The mean over the rows of all processes from that over the `n` own ones."""
    return all_reduce_mean(as_global_mean(mean, n))
