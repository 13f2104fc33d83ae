"""The singular values of the embeddings: how many directions they use."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup
from torch import Tensor

from tacit.evaluation.rank import rankme_of, stable_rank_of
from tacit.evaluation.spectrum import Spectrum
from tacit.report.axes import short
from tacit.report.charts import Series, line_chart

TINIEST = 1e-7  # singular values below this share of the largest are rounding


class SpectrumChart(NamedTuple):
    """Singular values on a logarithmic scale, and (name, RankMe, stable rank, width) a space."""

    svg: Markup
    rows: list[tuple[str, str, str, int]]
    samples: int


def spectrum_chart(spaces: dict[str, Tensor]) -> SpectrumChart:
    """Chart of the singular values of each space, relative to its largest."""
    series, rows = [], []
    for name, vectors in spaces.items():
        values = Spectrum(vectors).singular
        relative = (values / values[0]).clamp_min(TINIEST).tolist()
        series.append(Series(name, list(range(1, len(relative) + 1)), relative))
        ranks = (short(round(rank(values), 1)) for rank in (rankme_of, stable_rank_of))
        rows.append((name, *ranks, vectors.shape[1]))
    svg = line_chart(series, x_label="direction", y_label="singular value / largest", log_y=True)
    return SpectrumChart(svg, rows, len(next(iter(spaces.values()))))  # type: ignore[arg-type]
