"""Classifiers of epochs on a pre-trained encoder: of single ones, and of sequences of them."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Encoder
from tacit.encoders.blocks import Block
from tacit.encoders.series.frame_transformer import FrameTransformer
from tacit.encoders.series.mamba import MambaBlock
from tacit.encoders.series.position_norm import PositionBatchNorm
from tacit.errors import ConfigError, did_you_mean

KINDS = ("mamba", "lstm", "mha", "lstm_mha")
UNFREEZE = ("none", "last", "all")


class Downstream(nn.Module):
    """A frozen, partly frozen or trainable copy of an encoder under a classifier.

    Parameters
    ----------
    encoder : of series, or a `NeuroNet`, whose encoder is taken. It is copied: fine-tuning leaves
        the pre-trained one as it is.
    unfreeze : what of it is trained: "none", "all", or "last": the second norm and the MLP of the
        last transformer block, and the final norm (as published for NeuroNet).
    frozen_eval : keep the encoder in evaluation mode unless all of it is trained. False lets the
        batch norms of frozen layers follow the labelled data, as in the official code.

    Raises
    ------
    ConfigError : not an encoder, or "last" of a network without transformer blocks.
    """

    def __init__(self, encoder: Any, unfreeze: str, frozen_eval: bool) -> None:
        super().__init__()
        if not isinstance(encoder, Encoder):
            encoder = getattr(encoder, "encoder", encoder)
        if not isinstance(encoder, Encoder):
            raise ConfigError(f"expected an encoder of series, got {type(encoder).__name__}")
        if unfreeze not in UNFREEZE:
            raise ConfigError(
                f"unknown unfreeze '{unfreeze}'.{did_you_mean(unfreeze, UNFREEZE)} "
                f"Known: {', '.join(UNFREEZE)}"
            )
        self.encoder, self.unfreeze = copy.deepcopy(encoder), unfreeze
        self.frozen_eval = frozen_eval and unfreeze != "all"
        if unfreeze != "all":
            last = _last_layers(self.encoder) if unfreeze == "last" else []
            kept = {id(p) for layer in last for p in layer.parameters()}
            for p in self.encoder.parameters():
                p.requires_grad_(p.requires_grad and id(p) in kept)

    def train(self, mode: bool = True) -> Downstream:
        """As in PyTorch, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen_eval:
            self.encoder.eval()
        return self

    def codes(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch dim"]:
        """Features of single epochs (n, T), or (n, C, T); without gradient where all is frozen."""
        x = x[:, None] if x.ndim == 2 else x
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.unfreeze != "none"):
            return self.encoder(x)


class EpochClassifier(Downstream):
    """Class scores of single epochs: Linear(D, 2 D) BN ELU Dropout Linear(2 D, classes).

    Parameters
    ----------
    encoder, unfreeze, frozen_eval : as in `Downstream`; frozen by default.
    n_classes : 5 sleep stages by default.
    dropout : rate.

    References
    ----------
    Lee et al., "NeuroNet", 2024: the linear evaluation of its official code.

    Examples
    --------
    >>> from tacit.encoders.series import TCN
    >>> EpochClassifier(TCN(1)).eval()(torch.zeros(3, 500)).shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        encoder: Any,
        n_classes: int = 5,
        *,
        unfreeze: Literal["none", "last", "all"] = "none",
        frozen_eval: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, unfreeze, frozen_eval)
        dim, self.n_classes = self.encoder.dim, n_classes
        self.head = nn.Sequential(
            nn.Linear(dim, 2 * dim),
            nn.BatchNorm1d(2 * dim),
            nn.ELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, n_classes),
        )

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        return self.head(self.codes(x))

    def classify(self, codes: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Scores from features that were computed before."""
        return self.head(codes)


class TemporalContext(Downstream):
    """Class scores of every epoch in a sequence of epochs, each seen in its context.

    The features of an epoch go through Linear(D, dim) BN ELU Linear(dim, dim); the sequence
    through the context network; every position through Linear(dim, classes). All kinds read along
    time (in the official code the LSTM and the transformer read along the batch).

    Parameters
    ----------
    encoder, unfreeze, frozen_eval : as in `Downstream`.
    kind : "mamba" (one `MambaBlock`; causal), "lstm" (two layers), "mha" (a transformer of two
        layers and 8 heads), "lstm_mha" (an LSTM layer, then that transformer).
    n_classes : 5 sleep stages by default.
    dim : width of the context network, divisible by 8 for the transformers.

    Raises
    ------
    ConfigError : unknown kind or unfreeze (with a suggestion). ValueError : (forward) wrong shape,
        or one sequence in training (batch norm, which sees every position apart).

    References
    ----------
    Lee et al., "NeuroNet", 2024, and its official code.

    Examples
    --------
    >>> from tacit.encoders.series import TCN
    >>> model = TemporalContext(TCN(1), "mamba", unfreeze="none", dim=32)
    >>> model(torch.zeros(2, 20, 100)).shape  # 2 sequences of 20 epochs of 100 samples
    torch.Size([2, 20, 5])
    """

    def __init__(
        self,
        encoder: Any,
        kind: str = "mamba",
        unfreeze: Literal["none", "last", "all"] = "last",
        *,
        n_classes: int = 5,
        dim: int = 256,
        frozen_eval: bool = True,
    ) -> None:
        if kind not in KINDS:
            raise ConfigError(
                f"unknown context network '{kind}'.{did_you_mean(kind, KINDS)} "
                f"Known: {', '.join(KINDS)}"
            )
        if kind in ("mha", "lstm_mha") and dim % 8:
            raise ConfigError(f"dim={dim} is not divisible by the 8 heads of '{kind}'")
        super().__init__(encoder, unfreeze, frozen_eval)
        self.kind, self.n_classes = kind, n_classes
        self.fc1 = nn.Linear(self.encoder.dim, dim)
        self.norm = PositionBatchNorm(dim)
        self.fc2 = nn.Linear(dim, dim)
        self.mamba = MambaBlock(dim) if kind == "mamba" else None
        layers = {"lstm": 2, "lstm_mha": 1}.get(kind)
        self.lstm = nn.LSTM(dim, dim, layers, batch_first=True) if layers else None
        self.mha = None
        if kind in ("mha", "lstm_mha"):
            layer = nn.TransformerEncoderLayer(dim, 8, batch_first=True)
            self.mha = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(dim, n_classes)

    def forward(
        self, x: Float[Tensor, "batch epochs ..."]
    ) -> Float[Tensor, "batch epochs classes"]:
        """Sequences (n, epochs, T), or (n, epochs, C, T) for encoders of several channels."""
        if x.ndim not in (3, 4):
            raise ValueError(
                f"expected sequences (n, epochs, samples) or (n, epochs, channels, samples), got "
                f"shape {tuple(x.shape)}"
            )
        return self.classify(self.codes(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def classify(
        self, codes: Float[Tensor, "batch epochs dim"]
    ) -> Float[Tensor, "batch epochs classes"]:
        """Scores from features that were computed before."""
        n, length, _ = codes.shape
        h = self.norm(self.fc1(codes).flatten(0, 1), length)
        h = self.fc2(F.elu(h)).view(n, length, -1)
        if self.mamba is not None:
            h = self.mamba(h)
        if self.lstm is not None:
            h = self.lstm(h)[0]
        if self.mha is not None:
            h = self.mha(h)
        return self.head(h)


def _last_layers(encoder: Encoder) -> list[nn.Module]:
    network: Any = encoder.tokens if isinstance(encoder, FrameTransformer) else encoder
    blocks = getattr(network, "blocks", None)
    if not blocks or not isinstance(blocks[-1], Block):
        raise ConfigError(
            f"unfreeze='last' trains the last transformer block, and {type(encoder).__name__} has "
            "none; use 'none' or 'all'"
        )
    return [blocks[-1].norm2, blocks[-1].mlp, network.norm]
