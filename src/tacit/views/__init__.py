"""Batched random transforms of images: the same code on CPU and GPU, seeded by a generator."""

from tacit.views.blur import gaussian_blur
from tacit.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    colour_jitter,
    greyscale,
    luma,
    solarise,
)
from tacit.views.compose import Views
from tacit.views.config import ViewsConfig
from tacit.views.crop import resample, sample_boxes
from tacit.views.draws import Geometry
from tacit.views.eval_view import EvalView
from tacit.views.fmri import sliding_fc, sparsify_fc, window_fc, window_starts
from tacit.views.fmri_masks import draw_triples, mask_nodes_edges, non_overlapping_gap
from tacit.views.graph import draw_masked_nodes, drop_edges, mask_node_features
from tacit.views.masking import random_masking, restore_tokens
from tacit.views.mixing import mixup_views
from tacit.views.multi import MultiViewTransform
from tacit.views.presets import PRESETS, build_views
from tacit.views.series import (
    SERIES_PRESETS,
    SeriesEvalView,
    SeriesViewConfig,
    SeriesViews,
    build_series_views,
)
from tacit.views.spectral import fourier_view, morlet_scalogram, scalogram_frequencies
from tacit.views.view import View

__all__ = [
    "PRESETS",
    "SERIES_PRESETS",
    "EvalView",
    "Geometry",
    "MultiViewTransform",
    "SeriesEvalView",
    "SeriesViewConfig",
    "SeriesViews",
    "View",
    "Views",
    "ViewsConfig",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "build_series_views",
    "build_views",
    "colour_jitter",
    "draw_masked_nodes",
    "draw_triples",
    "drop_edges",
    "fourier_view",
    "gaussian_blur",
    "greyscale",
    "luma",
    "mask_node_features",
    "mask_nodes_edges",
    "mixup_views",
    "morlet_scalogram",
    "non_overlapping_gap",
    "random_masking",
    "resample",
    "restore_tokens",
    "sample_boxes",
    "scalogram_frequencies",
    "sliding_fc",
    "solarise",
    "sparsify_fc",
    "window_fc",
    "window_starts",
]
