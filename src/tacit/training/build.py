"""The method of a recipe, with fresh weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tacit.embedding import fast_weights
from tacit.encoders.chunked import ChunkedEncoder
from tacit.errors import ConfigError
from tacit.methods.base import Method
from tacit.modalities import modality
from tacit.recipe import Recipe
from tacit.training.resolve import resolve_options


def build_method(
    method: type[Method], recipe: Recipe, spec: dict[str, Any], encoder: nn.Module | None = None
) -> Method:
    """The method of a resolved recipe with freshly initialised weights (by the recipe's seed).

    `spec` says what the encoder reads: `input_spec` of the recipe's modality.
    """
    torch.manual_seed(recipe.seed)
    assert recipe.encoder is not None
    network = modality(recipe.modality).build_encoder(
        recipe.encoder if encoder is None else encoder, spec, recipe.encoder_options
    )
    if recipe.forward_batch is not None:
        if not method.in_pieces:
            raise ConfigError(
                f"{recipe.method} reads parts of its encoder, or graphs, which gradient caching "
                "cannot cut into pieces: leave out effective_batch and forward_batch. What fits "
                "in memory is set by batch_size."
            )
        network = ChunkedEncoder(network, recipe.forward_batch)
    built = method(network, resolve_options(method, recipe.options, recipe.method))
    fast_weights(built)
    return built


def compile_networks(method: Method) -> None:
    """Compile every network of a method in place; names and weights stay as they are.

    The loss stays as written. With gradient caching it is the encoder of one piece that is
    compiled.
    """
    for network in method.children():
        inner = network.encoder if isinstance(network, ChunkedEncoder) else network
        inner.compile()
