"""Parts with state that methods share: targets, queues, prototypes, running statistics."""

from .correlation import CorrelationEMA
from .dynamics import Dynamics, fixed_points, simulate_dynamics
from .ema import EMA
from .generator import SharedGenerator
from .predictor import (
    ClosedFormPredictor,
    directcopy_weight,
    directpred_weight,
    eigenspace_alignment,
)
from .prototypes import Prototypes
from .queue import FeatureQueue
from .regularise import diagonalise_, symmetrise_, symmetrise_pair_

__all__ = [
    "EMA",
    "ClosedFormPredictor",
    "CorrelationEMA",
    "Dynamics",
    "FeatureQueue",
    "Prototypes",
    "SharedGenerator",
    "diagonalise_",
    "directcopy_weight",
    "directpred_weight",
    "eigenspace_alignment",
    "fixed_points",
    "simulate_dynamics",
    "symmetrise_",
    "symmetrise_pair_",
]
