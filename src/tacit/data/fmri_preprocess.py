"""Region series made fit for correlation: trends removed, scaled, and checked before."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tacit.errors import ConfigError, DataError, did_you_mean

Detrend = Literal["none", "constant", "linear", "quadratic"]


def preprocess(
    series: np.ndarray, *, detrend: Detrend = "quadratic", zscore: bool = True
) -> np.ndarray:
    """Remove a polynomial trend from every series, then scale it to unit variance.

    Drifts of the scanner are common to all regions: left in, they are what correlation measures.

    Parameters
    ----------
    series : (..., T), none of them constant.
    detrend : "none", "constant", "linear" or "quadratic" (least squares).
    zscore : divide by the standard deviation (n - 1).

    Returns
    -------
    float64 (..., T)

    >>> t = np.arange(6.0)
    >>> bool(np.allclose(preprocess(t**2 - 3 * t, zscore=False), 0))
    True
    """
    if detrend not in get_args(Detrend):
        raise ConfigError(
            f"detrend must be one of {', '.join(get_args(Detrend))}, not {detrend!r}."
            f"{did_you_mean(str(detrend), get_args(Detrend))}"
        )
    values = np.asarray(series, np.float64)
    order = get_args(Detrend).index(detrend)  # number of polynomial terms
    if order:
        basis = np.linalg.qr(np.vander(np.linspace(-1, 1, values.shape[-1]), order))[0]
        # a level of thousands would cost digits: take it away first
        values = values - values.mean(-1, keepdims=True)
        values = values - (values @ basis) @ basis.T
    if zscore:
        values = values / values.std(-1, ddof=1, keepdims=True)
    return values


def check_series(series: np.ndarray, name: str, region_names: list[str] | None = None) -> None:
    """Refuse missing values and regions that never vary in a recording.

    Raises
    ------
    DataError : with the first such recording and region, and how many there are.
    """
    finite = np.isfinite(series).all(-1)
    constant = finite & (series.max(-1) == series.min(-1))
    for bad, what in ((~finite, "NaN or infinite values"), (constant, "a constant series")):
        if bad.any():
            recording, region = np.argwhere(bad)[0].tolist()
            called = f" ({region_names[region]})" if region_names else ""
            raise DataError(
                f"{name}: recording {recording}, region {region}{called} has {what} "
                f"({int(bad.sum())} of {bad.size} series in all). Its correlation is undefined: "
                "leave out the region everywhere, or the recording."
            )
