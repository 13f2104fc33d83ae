"""Parts with state that methods share: targets, queues, prototypes, running statistics."""

from .best_epoch import BestEpoch
from .closed_form import directcopy_weight, directpred_weight, eigenspace_alignment
from .correlation import CorrelationEMA
from .dynamics import Dynamics, fixed_points, simulate_dynamics
from .ema import EMA
from .generator import SharedGenerator
from .optimal import half_rank_weight, minimal_space_weight, solve_weight
from .predictor import ClosedFormPredictor, PredictorMode
from .prototypes import Prototypes
from .queue import FeatureQueue
from .regularise import diagonalise_, symmetrise_, symmetrise_pair_

__all__ = [
    "EMA",
    "BestEpoch",
    "ClosedFormPredictor",
    "CorrelationEMA",
    "Dynamics",
    "FeatureQueue",
    "PredictorMode",
    "Prototypes",
    "SharedGenerator",
    "diagonalise_",
    "directcopy_weight",
    "directpred_weight",
    "eigenspace_alignment",
    "fixed_points",
    "half_rank_weight",
    "minimal_space_weight",
    "simulate_dynamics",
    "solve_weight",
    "symmetrise_",
    "symmetrise_pair_",
]
