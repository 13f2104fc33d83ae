"""Sweeps: many runs of one recipe that differ in a few fields, compared without labels."""

from tacit.sweeps.result import SweepResult, TrialRow
from tacit.sweeps.run import sweep

__all__ = ["SweepResult", "TrialRow", "sweep"]
