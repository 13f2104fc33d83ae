"""Losses: pure functions of tensors, one file a family, all exported flat."""

from tacit.data import imbalanced_indices
from tacit.parts import (
    directcopy_weight,
    directpred_weight,
    eigenspace_alignment,
    half_rank_weight,
    minimal_space_weight,
    simulate_dynamics,
    solve_weight,
)
from tacit.views.mixing import mixup_views

from ._cacr import CACROutput
from .aggregate import average_view_aggregate, pairwise_aggregate
from .barlow import barlow_twins_loss, mixed_barlow_reg, off_diagonal
from .byol import byol_loss
from .cacr import cacr_attraction, cacr_loss, cacr_repulsion
from .cacr_momentum import cacr_moco_v3_loss, cacr_queue_loss
from .dcl import (
    DCLLoss,
    DCLWLoss,
    dcl_loss,
    dclw_loss,
    moco_dcl_loss,
    nnclr_dcl_loss,
    npc_multiplier,
    von_mises_fisher_weights,
)
from .fmri import balanced_edge_bce, edge_logits, masked_profile_loss, orthogonality_penalty
from .hypersphere import align_loss, uniform_loss
from .kcl import kcl_loss
from .masked import masked_mse
from .moco import moco_loss, moco_v3_loss
from .multiview import cl1_loss, cl2_loss, dhel_loss, mv_dhel_loss, mv_infonce_loss, pvc_loss
from .nnclr import nnclr_loss
from .ntxent import multi_positive_nt_xent_loss, nt_xent, nt_xent_loss
from .pair_accuracy import pair_accuracy
from .sce import linear_scaled_cosine_error, scaled_cosine_error
from .simsiam import simsiam_loss
from .swav import sinkhorn, swav_loss
from .tiled import (
    MEMORY_LIMIT,
    pairwise_logsumexp,
    pairwise_logsumexp_both,
    pairwise_softmax_mean,
)
from .vicreg import VICRegParts, vicreg_loss
from .whitening import whiten, wmse_loss

__all__ = [
    "MEMORY_LIMIT",
    "CACROutput",
    "DCLLoss",
    "DCLWLoss",
    "VICRegParts",
    "align_loss",
    "average_view_aggregate",
    "balanced_edge_bce",
    "barlow_twins_loss",
    "byol_loss",
    "cacr_attraction",
    "cacr_loss",
    "cacr_moco_v3_loss",
    "cacr_queue_loss",
    "cacr_repulsion",
    "cl1_loss",
    "cl2_loss",
    "dcl_loss",
    "dclw_loss",
    "dhel_loss",
    "directcopy_weight",
    "directpred_weight",
    "edge_logits",
    "eigenspace_alignment",
    "half_rank_weight",
    "imbalanced_indices",
    "kcl_loss",
    "linear_scaled_cosine_error",
    "masked_mse",
    "masked_profile_loss",
    "minimal_space_weight",
    "mixed_barlow_reg",
    "mixup_views",
    "moco_dcl_loss",
    "moco_loss",
    "moco_v3_loss",
    "multi_positive_nt_xent_loss",
    "mv_dhel_loss",
    "mv_infonce_loss",
    "nnclr_dcl_loss",
    "nnclr_loss",
    "npc_multiplier",
    "nt_xent",
    "nt_xent_loss",
    "off_diagonal",
    "orthogonality_penalty",
    "pair_accuracy",
    "pairwise_aggregate",
    "pairwise_logsumexp",
    "pairwise_logsumexp_both",
    "pairwise_softmax_mean",
    "pvc_loss",
    "scaled_cosine_error",
    "simsiam_loss",
    "simulate_dynamics",
    "sinkhorn",
    "solve_weight",
    "swav_loss",
    "uniform_loss",
    "vicreg_loss",
    "von_mises_fisher_weights",
    "whiten",
    "wmse_loss",
]
