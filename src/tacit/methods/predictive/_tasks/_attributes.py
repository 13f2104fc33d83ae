"""Predict features: those of masked nodes, or how similar those of two nodes are."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.errors import ConfigError, DataError

from ._base import PretextTask, pair_logits
from ._graph import EVERYTHING, scipy_features
from ._sample import draw

CHUNK = 1024  # rows of similarities at a time


class AttributeMask(PretextTask):
    """Reconstruct the features of nodes whose features were set to zero.

    Features are reduced to their first principal components, for the network too (`eval_view`).
    Once, int(ratio n) of the n unlabelled nodes are masked; L = mean squared error of Linear(h)
    there.

    Parameters
    ----------
    ratio : share of the unlabelled nodes that is masked, in (0, 1].
    components : width after reduction (at most N and F).
    reduce_input : the network reads the components; otherwise it reads the features as they are,
        and only the targets are reduced.

    Raises
    ------
    ConfigError : ratio outside (0, 1].
    DataError : too few unlabelled nodes for one to be masked.

    References
    ----------
    Jin et al., 2020, section 3.1.2 (AttributeMask).
    """

    masked: Tensor
    targets: Tensor

    def __init__(
        self, ratio: float = 0.1, *, components: int = 256, reduce_input: bool = True
    ) -> None:
        if not 0 < ratio <= 1 or components < 1:
            raise ConfigError(
                f"AttributeMask: ratio must be in (0, 1] and components positive, "
                f"not {ratio} and {components}."
            )
        self.ratio, self.components, self.reduce_input = ratio, components, reduce_input

    def _targets(self) -> None:
        reduced = principal_components(self.x, self.components)
        count = int(len(self.unlabelled) * self.ratio)
        if count == 0:
            raise DataError(
                f"AttributeMask: {self.ratio:g} of {len(self.unlabelled)} unlabelled nodes is "
                "less than one. Raise the ratio."
            )
        order = torch.randperm(len(self.unlabelled), generator=self.generator)
        self.masked = self.unlabelled[order[:count]]
        self.targets, self.outputs = reduced[self.masked], reduced.shape[1]
        if self.reduce_input:
            self.x = reduced.to(self.x.device)
        self._view = zero_rows(self.x, self.masked)

    def train_view(self) -> tuple[Tensor, Tensor]:
        return self._view, self.edge_index

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        return F.mse_loss(head(h[self.masked.to(h.device)]), self.targets.to(h))


class PairwiseAttributeSimilarity(PretextTask):
    """Predict the cosine similarity of the features of two nodes.

    Pairs, once: every node with the k least similar, the k + 1 most similar (itself among them),
    and the nodes at k random ranks of its order of similarity (the same ranks for every node);
    each unordered pair once, none with itself. Each step `pairs` of them are drawn;
    L = mean squared error of Linear(|h_i - h_j|).

    The official code compares (P, 1) predictions with (P,) targets, which broadcasts and drives
    every prediction to the mean; here they are compared one by one. Above 20,000 nodes the pairs
    are among 20,000 random nodes.

    Parameters
    ----------
    k : see above.
    pairs : pairs a step (all, where there are fewer).

    Raises
    ------
    ConfigError : k or pairs below 1.
    DataError : one node.

    References
    ----------
    Jin et al., 2020, section 3.1.2 (PairwiseAttrSim).
    """

    outputs = 1
    pairs: Tensor
    targets: Tensor

    def __init__(self, k: int = 3, *, pairs: int = 5000) -> None:
        if k < 1 or pairs < 1:
            raise ConfigError(f"k and pairs must be positive, not {k} and {pairs}.")
        self.k, self.per_step = k, pairs

    def _targets(self) -> None:
        n = self.x.shape[0]
        if n < 2:
            raise DataError("PairwiseAttributeSimilarity: one node has no pair.")
        nodes = np.arange(n) if n <= EVERYTHING else draw(n, EVERYTHING, self.generator).numpy()
        features = scipy_features(self.x)[nodes]
        norm = np.sqrt(features.multiply(features).sum(1)).A1
        scale = np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0)
        unit = features.multiply(scale[:, None]).tocsr()
        chosen = self._similar(unit, len(nodes))
        i, j = nodes[np.repeat(np.arange(len(nodes)), chosen.shape[1])], nodes[chosen.ravel()]
        low, high = np.minimum(i, j), np.maximum(i, j)
        codes = np.unique((low * n + high)[low < high])
        self.pairs = torch.from_numpy(np.stack([codes // n, codes % n]))
        place = np.empty(n, np.int64)
        place[nodes] = np.arange(len(nodes))
        a, b = (unit[place[side]] for side in self.pairs.numpy())
        self.targets = torch.from_numpy(a.multiply(b).sum(1).A1)

    def _similar(self, unit: object, n: int) -> np.ndarray:
        """(n, <= 3 k + 1) partners of every node."""
        k = self.k
        middle = np.arange(min(k, n), max(n - k, k))
        random = middle[draw(len(middle), k, self.generator).numpy()]
        least, most = np.arange(min(k, n)), np.arange(max(n - k - 1, 0), n)
        ranks = np.unique(np.concatenate([least, most, random]))
        parts = []
        for start in range(0, n, CHUNK):
            rows = unit[start : start + CHUNK] @ unit.T  # type: ignore[index,attr-defined]
            parts.append(np.argpartition(rows.toarray(), ranks, axis=1)[:, ranks])
        return np.concatenate(parts)

    def loss(self, h: Tensor, head: nn.Module) -> Tensor:
        step = draw(self.pairs.shape[1], self.per_step, self.generator)
        predicted = pair_logits(h, self.pairs[:, step], head).squeeze(1)
        return F.mse_loss(predicted, self.targets[step].to(h))


def principal_components(x: Tensor, components: int) -> Tensor:
    """(N, min(components, N, F)) projections on the first principal components, in x's precision.

    >>> line = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> principal_components(line, 1).abs().flatten().tolist()
    [2.5, 2.5]
    """
    from sklearn.decomposition import PCA

    features = scipy_features(x)
    count = min(components, *features.shape)
    solver = "arpack" if count < min(features.shape) else "full"  # exact, unlike the random one
    dense = features if solver == "arpack" else features.toarray()
    reduced = PCA(count, svd_solver=solver, random_state=0).fit_transform(dense)
    return torch.from_numpy(np.ascontiguousarray(reduced)).to(x.dtype)


def zero_rows(x: Tensor, rows: Tensor) -> Tensor:
    """A copy of x, dense or sparse, with zeros at `rows`."""
    keep = torch.ones(x.shape[0], dtype=x.dtype, device=x.device)
    keep[rows.to(x.device)] = 0
    if x.layout == torch.strided:
        return x * keep[:, None]
    csr = x if x.layout == torch.sparse_csr else x.to_sparse_csr()
    lengths = csr.crow_indices().diff()
    values = csr.values() * torch.repeat_interleave(keep, lengths)
    return torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), values, csr.shape, check_invariants=False
    )
