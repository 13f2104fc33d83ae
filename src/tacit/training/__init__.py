"""The Lightning glue: everything between a recipe and a run folder."""

from tacit.training.optim import LARS
from tacit.training.schedule import warmup_cosine

__all__ = ["LARS", "warmup_cosine"]
