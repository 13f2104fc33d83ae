"""Correct guessed labels with prototypes from the network's own hidden vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError

from ._context import Classifier, ContextLabel, histogram
from ._sample import draw


def prototype_label_correction(
    h: Tensor,
    pred: Tensor,
    sampled: Tensor,
    n_prototypes: int = 8,
    *,
    n_candidates: int = 320,
    percentile: float = 40.0,
    max_similarity: float = 0.95,
    num_classes: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """New labels of the sampled nodes: the class to whose prototypes they are most similar.

    For each class, of up to `n_candidates` random nodes that have its label: S the cosine
    similarities, S_c their percentile, density rho_i = sum_j sign(S_ij - S_c), eta_i the largest
    similarity to a node of higher density (its smallest similarity for the densest). rho is set to
    0 where eta_i >= `max_similarity`; the nodes of largest rho are the prototypes. A node's label
    is the class of largest mean cosine similarity.

    Parameters
    ----------
    h : (N, d) hidden vectors; no gradient flows.
    pred : (N,) int64 guessed labels.
    sampled : (n,) nodes to label.
    n_prototypes, n_candidates : a class; all its nodes, where there are fewer.
    percentile, max_similarity : see above.
    num_classes : classes without a node are skipped.
    generator : of the candidates; seed 0 by default.

    Returns
    -------
    (n,) int64.

    Raises
    ------
    DataError : shapes that do not agree, a node that does not exist.
    ConfigError : no prototypes, no candidates.

    References
    ----------
    Han, Luo, Wang, Deep Self-Learning from Noisy Labels, 2019, eq. 3-5; Jin et al., 2020,
    section 4.2 (CorrectedLabel).

    >>> h = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.0], [0.0, 1.0], [0.1, 0.9]])
    >>> pred = torch.tensor([0, 0, 1, 1, 1])
    >>> prototype_label_correction(h, pred, torch.tensor([2, 4]), 2).tolist()
    [0, 1]
    """
    if n_prototypes < 1 or n_candidates < 1:
        raise ConfigError(
            f"n_prototypes and n_candidates must be positive, not {n_prototypes} "
            f"and {n_candidates}."
        )
    if h.ndim != 2 or pred.shape != h.shape[:1]:
        raise DataError(
            f"h must be (N, d) and pred (N,), not {tuple(h.shape)} and {tuple(pred.shape)}."
        )
    sampled = torch.as_tensor(sampled)
    if sampled.numel() and not 0 <= int(sampled.min()) <= int(sampled.max()) < len(h):
        raise DataError(
            f"sampled names nodes {int(sampled.min())}..{int(sampled.max())}, but the nodes are "
            f"0..{len(h) - 1}."
        )
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    pred = pred.cpu()
    precise = h.detach() if h.dtype == torch.float64 else h.detach().float()
    unit = F.normalize(precise, dim=1)
    rows = unit[sampled.to(h.device)]
    count = int(pred.max()) + 1 if num_classes is None else num_classes
    scores = rows.new_full((len(rows), count), -torch.inf)
    for c in range(count):
        members = torch.nonzero(pred == c).flatten()
        if not len(members):
            continue
        if len(members) > n_candidates:
            members = members[draw(len(members), n_candidates, generator)]
        candidates = unit[members.to(h.device)]
        chosen = prototypes(candidates @ candidates.T, n_prototypes, percentile, max_similarity)
        scores[:, c] = (rows @ candidates[chosen].T).mean(1)
    return scores.argmax(1)


def prototypes(
    similarity: Tensor, count: int, percentile: float = 40.0, max_similarity: float = 0.95
) -> Tensor:
    """Positions of the `count` densest rows not near a denser one, by (m, m) similarities."""
    threshold = _percentile(similarity.flatten(), percentile)
    rho = (similarity - threshold).sign().sum(1)
    denser = rho[None, :] > rho[:, None]
    eta = similarity.masked_fill(~denser, -torch.inf).amax(1)
    eta = torch.where(denser.any(1), eta, similarity.amin(1))
    rho = rho.masked_fill(eta >= max_similarity, 0.0)
    return rho.argsort(stable=True)[-count:]


def _percentile(values: Tensor, percentile: float) -> float:
    """Linear interpolation between the two nearest order statistics, without a sort."""
    place = percentile / 100 * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    ranked = np.partition(values.cpu().numpy(), (below, above))
    return float(ranked[below] + (ranked[above] - ranked[below]) * (place - below))


class CorrectedLabel(ContextLabel):
    """ContextLabel whose guessed labels are corrected every epoch: CorrectedLabel.

    Each step, of n random unlabelled nodes the label is guessed anew by
    `prototype_label_correction` from the hidden vectors (without gradient); q^ is the context
    with these labels in place of the original ones. L = L_context + alpha * mean over the sampled
    nodes and classes of (softmax(Linear(dropout(h))) - q^)^2. Corrections are not kept from one
    step to the next.

    Parameters
    ----------
    source : "ica", "lp", "ensemble", or a `ContextLabel` whose options are taken.
    alpha : weight of the corrected term; 0 is ContextLabel. Published: 1.5 on Cora, 1 (ICA) and
        1.5 (LP) on CiteSeer, 1 on PubMed.
    n_samples : n (all unlabelled nodes, where there are fewer); published: 1000 on Cora, 3000 on
        CiteSeer, 10000 on PubMed.
    n_prototypes : prototypes of a class.

    Raises
    ------
    ConfigError : negative alpha, n_samples or n_prototypes below 1, an unknown source.

    References
    ----------
    Jin et al., 2020, section 4.2 (CorrectedLabel).
    """

    def __init__(
        self,
        source: Classifier | ContextLabel = "ica",
        alpha: float = 1.5,
        n_samples: int = 1000,
        n_prototypes: int = 8,
        **options: Any,
    ) -> None:
        if isinstance(source, ContextLabel):
            own = {"binarize": source.binarize, "hops": source.hops, "dropout": source.dropout}
            source, options = source.source, {**own, **options}
        super().__init__(source, **options)
        if not alpha >= 0 or n_samples < 1 or n_prototypes < 1:
            raise ConfigError(
                "alpha must not be negative, n_samples and n_prototypes must be positive, "
                f"not {alpha}, {n_samples} and {n_prototypes}."
            )
        self.alpha, self.n_samples, self.n_prototypes = alpha, n_samples, n_prototypes

    def corrected(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) sampled nodes of this step, and their (n, C) context after correction."""
        chosen = draw(len(self.unlabelled), self.n_samples, self.generator)
        sampled = self.unlabelled[chosen]
        labels = self.pred.clone()
        labels[sampled] = prototype_label_correction(
            h,
            self.pred,
            sampled,
            self.n_prototypes,
            num_classes=self.outputs,
            generator=self.generator,
        ).cpu()
        context = histogram(self._around[sampled.numpy()], labels.numpy(), self.outputs)
        return sampled, torch.from_numpy(np.ascontiguousarray(context))

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        if self.alpha == 0:
            return super().loss(h, head)
        sampled, context = self.corrected(h)
        predicted = self.predict(h, head)
        plain = self._error(predicted, self.unlabelled, self.targets[self.unlabelled])
        return plain + self.alpha * self._error(predicted, sampled, context)
