"""Methods that reconstruct what was hidden."""

from tacit.methods.generative._masked_autoencoder import (
    Reconstruction,
    STMaskedAutoencoder,
    Windows,
)

__all__ = ["Reconstruction", "STMaskedAutoencoder", "Windows"]
