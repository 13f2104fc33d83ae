"""Projection and prediction heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from tacit.errors import ConfigError

_ACTIVATIONS: dict[str, Any] = {"relu": nn.ReLU, "elu": nn.ELU}


class MLPHead(nn.Sequential):
    """Linear - [BN] - ReLU - ... - Linear - [BN], the head of every joint-embedding method.

    Parameters
    ----------
    dims : widths from input to output; `(2048, 2048, 128)` is two linear layers.
    bn : batch norm after every hidden linear layer.
    last_bn : batch norm after the last linear layer.
    last_affine : whether that last norm learns a scale and a shift; "scale" learns the scale and
        freezes the shift at zero.
    bias : bias of the linear layers, one value for all or one a layer. None gives a bias only
        where no batch norm follows, which would cancel it.
    hidden_affine : whether the hidden norms learn a scale and a shift.
    init_std : None keeps PyTorch's default initialisation; a number draws the weights from
        N(0, init_std) and sets biases to zero.
    activation : "relu", or "elu".

    Published heads
    ---------------
    SimCLR `(D, 2048, 128)` with `last_bn=True`; MoCo v2 `(D, D, 128)` with `bn=False`; MoCo v3
    projector `(D, 4096, 256)` with `last_bn=True, last_affine=False`; BYOL `(D, 4096, 256)` with
    `bias=True`; SimSiam projector `(D, 2048, 2048, 2048)` with `last_bn=True, last_affine=False`
    and predictor `(2048, 512, 2048)`; Barlow Twins `(D, 8192, 8192, 8192)` with `bias=False`;
    DirectPred `(512, 512, 128)` with `hidden_affine=False, bias=True`; MV-DHEL `(D, D, 128)` with
    `last_bn=True, last_affine="scale"`; NeuroNet `(D, 1024, 512)` with `bias=True,
    activation="elu"`.

    Raises
    ------
    ConfigError
        Fewer than two widths, a width below one, or a list of biases of the wrong length.

    >>> [type(layer).__name__ for layer in MLPHead((8, 4, 2))]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    """

    def __init__(
        self,
        dims: Sequence[int],
        bn: bool = True,
        last_bn: bool = False,
        last_affine: bool | Literal["scale"] = True,
        bias: bool | Sequence[bool] | None = None,
        *,
        hidden_affine: bool = True,
        init_std: float | None = None,
        activation: Literal["relu", "elu"] = "relu",
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise ConfigError(f"activation must be 'relu' or 'elu', got {activation!r}")
        count = len(dims) - 1
        if count < 1 or min(dims) < 1:
            raise ConfigError(
                f"a head needs at least two positive widths (input, ..., output), got {list(dims)}"
            )
        if last_affine not in (True, False, "scale"):
            raise ConfigError(f"last_affine must be True, False or 'scale', got {last_affine!r}")
        norms = [bn] * (count - 1) + [last_bn]
        if bias is None:
            biases = [not norm for norm in norms]
        else:
            biases = [bias] * count if isinstance(bias, bool) else list(bias)
        if len(biases) != count:
            raise ConfigError(f"bias has {len(biases)} values for {count} linear layers")
        layers: list[nn.Module] = []
        for index in range(count):
            last = index == count - 1
            layers.append(nn.Linear(dims[index], dims[index + 1], bias=biases[index]))
            if norms[index]:
                affine = bool(last_affine) if last else hidden_affine
                norm = nn.BatchNorm1d(dims[index + 1], affine=affine)
                if last and last_affine == "scale":
                    norm.bias.requires_grad_(False)
                layers.append(norm)
            if not last:
                layers.append(_ACTIVATIONS[activation](inplace=True))
        super().__init__(*layers)
        self.in_dim, self.dim = dims[0], dims[-1]
        if init_std is not None:
            for layer in layers:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=init_std)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "batch in_dim"]) -> Float[Tensor, "batch out_dim"]:
        return super().forward(x)
