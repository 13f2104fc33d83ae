"""A scikit-learn transformer: pretrain on X without labels, then embed."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tacit.run import Run


class SelfSupervisedEncoder(TransformerMixin, BaseEstimator):
    """`fit` pre-trains an encoder on images without labels; `transform` gives embeddings.

    Parameters
    ----------
    method : name of a method.
    out : run folder; `runs/METHOD-array-TIME` by default.
    options : recipe fields and method options, for instance `{"epochs": 20}`.
    progress : show a progress bar.

    Attributes
    ----------
    run_ : the Run.
    n_features_out_ : width of the embeddings.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = make_pipeline(SelfSupervisedEncoder("simclr"), LogisticRegression())
    """

    def __init__(
        self,
        method: str = "simclr",
        *,
        out: str | None = None,
        options: dict[str, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.method = method
        self.out = out
        self.options = options
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> SelfSupervisedEncoder:
        """Pre-train on images (N, H, W), (N, H, W, C) or (N, C, H, W); `y` is ignored."""
        from tacit.api import pretrain

        self.run_: Run = pretrain(
            self.method, X, out=self.out, progress=self.progress, **(self.options or {})
        )
        self.n_features_out_ = self.run_.encoder.dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings (N, dim) of images in the shape that `fit` saw."""
        check_is_fitted(self, "run_")
        return self.run_.embed(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`tacit0`, `tacit1`, ..."""
        check_is_fitted(self, "run_")
        return np.asarray([f"tacit{i}" for i in range(self.n_features_out_)], dtype=object)
