"""Methods that reconstruct what was hidden."""

from tacit.methods.generative._masked_autoencoder import (
    Reconstruction,
    STMaskedAutoencoder,
    Windows,
)
from tacit.methods.generative.graphmae import GraphMAE
from tacit.methods.generative.graphmae_molecules import GraphMAEMolecules

__all__ = ["GraphMAE", "GraphMAEMolecules", "Reconstruction", "STMaskedAutoencoder", "Windows"]
