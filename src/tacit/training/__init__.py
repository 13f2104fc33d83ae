"""The Lightning glue: everything between a recipe and a run folder."""

from tacit.training.fit import fit
from tacit.training.folder import RunFolder
from tacit.training.optim import LARS

__all__ = ["LARS", "RunFolder", "fit"]
