"""The Lightning glue: everything between a recipe and a run folder."""

from tacit.training.optim import LARS

__all__ = ["LARS"]
