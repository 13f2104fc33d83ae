"""The head and every published form of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.encoders import MLPHead
from tacit.errors import ConfigError


def describe(head: MLPHead) -> list[str]:
    """A layer a word: L (linear), Lb (with bias), B (affine norm), B- (not affine), R (ReLU)."""
    words = []
    for layer in head:
        if isinstance(layer, nn.Linear):
            words.append("Lb" if layer.bias is not None else "L")
        elif isinstance(layer, nn.BatchNorm1d):
            words.append("B" if layer.affine else "B-")
        else:
            words.append("R")
    return words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # SimCLR official (norm on the last layer too) and DCL / mixed Barlow Twins at small scale
        ({"dims": (64, 32, 16), "last_bn": True}, "L B R L B"),
        ({"dims": (64, 32, 16)}, "L B R Lb"),
        # MoCo v2: no norm
        ({"dims": (64, 64, 16), "bn": False}, "Lb R Lb"),
        # MoCo v3 for ResNet and ViT; the ResNet predictor has no last norm
        ({"dims": (64, 32, 16), "last_bn": True, "last_affine": False}, "L B R L B-"),
        ({"dims": (64, 32, 32, 16), "last_bn": True, "last_affine": False}, "L B R L B R L B-"),
        ({"dims": (16, 32, 16), "bias": False}, "L B R L"),
        # BYOL, and VICReg-like heads with biases everywhere
        ({"dims": (64, 32, 16), "bias": True}, "Lb B R Lb"),
        # SimSiam projector and bottleneck predictor
        ({"dims": (64, 64, 64, 64), "last_bn": True, "last_affine": False}, "L B R L B R L B-"),
        ({"dims": (64, 16, 64)}, "L B R Lb"),
        # Barlow Twins
        ({"dims": (64, 32, 32, 32), "bias": False}, "L B R L B R L"),
        # DirectPred: hidden norm without affine, biases; its linear predictor
        ({"dims": (64, 64, 16), "hidden_affine": False, "bias": True}, "Lb B- R Lb"),
        ({"dims": (16, 16), "bias": False}, "L"),
        # MV-DHEL: last norm with a scale and a frozen zero shift
        ({"dims": (64, 64, 16), "last_bn": True, "last_affine": "scale"}, "L B R L B"),
        # biases a layer
        ({"dims": (64, 32, 16), "bias": (True, False)}, "Lb B R L"),
    ],
)
def test_published_heads(arguments, expected):
    head = MLPHead(**arguments)
    assert describe(head) == expected.split()
    assert (head.in_dim, head.dim) == (arguments["dims"][0], arguments["dims"][-1])
    x = torch.randn(8, head.in_dim)
    assert head(x).shape == (8, head.dim)


def test_scale_only_norm_keeps_its_shift_at_zero():
    head = MLPHead((8, 8, 4), last_bn=True, last_affine="scale")
    optimiser = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], lr=0.1)
    (head(torch.randn(16, 8)) - 5).square().sum().backward()
    optimiser.step()
    assert head[-1].bias.abs().max() == 0
    assert (head[-1].weight - 1).abs().max() > 0
    assert head[1].bias.requires_grad


def test_values_against_the_formula():
    torch.manual_seed(0)
    head = MLPHead((4, 3, 2), last_bn=True, last_affine=False).double()
    x = torch.randn(6, 4, dtype=torch.float64)

    def norm(z: torch.Tensor) -> torch.Tensor:
        return (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()

    expected = norm(norm(x @ head[0].weight.T).relu() @ head[3].weight.T)
    torch.testing.assert_close(head(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"dims": (8,)},
        {"dims": (8, 0, 2)},
        {"dims": (8, 4, 2), "bias": (True,)},
        {"dims": (8, 2), "last_affine": "shift"},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ConfigError):
        MLPHead(**arguments)
