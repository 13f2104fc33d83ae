"""Losses: pure functions of tensors, one file a family, all exported flat."""

from ._cacr import CACROutput
from .aggregate import average_view_aggregate, pairwise_aggregate
from .cacr import cacr_attraction, cacr_loss, cacr_repulsion
from .cacr_momentum import cacr_moco_v3_loss, cacr_queue_loss
from .kcl import kcl_loss
from .multiview import (
    cl1_loss,
    cl2_loss,
    dhel_loss,
    multi_positive_nt_xent_loss,
    mv_dhel_loss,
    mv_infonce_loss,
    pvc_loss,
)
from .tiled import MEMORY_LIMIT, pairwise_logsumexp, pairwise_softmax_mean

__all__ = [
    "MEMORY_LIMIT",
    "CACROutput",
    "average_view_aggregate",
    "cacr_attraction",
    "cacr_loss",
    "cacr_moco_v3_loss",
    "cacr_queue_loss",
    "cacr_repulsion",
    "cl1_loss",
    "cl2_loss",
    "dhel_loss",
    "kcl_loss",
    "multi_positive_nt_xent_loss",
    "mv_dhel_loss",
    "mv_infonce_loss",
    "pairwise_aggregate",
    "pairwise_logsumexp",
    "pairwise_softmax_mean",
    "pvc_loss",
]
