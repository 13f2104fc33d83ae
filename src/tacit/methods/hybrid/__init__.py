"""Methods that join a contrastive and a predictive task."""

from tacit.methods.hybrid.neuronet import NeuroNet

__all__ = ["NeuroNet"]
