"""Any `nn.Module` as an encoder: find the pooled and the patch features in what it returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tacit.encoders.base import Encoder, Features, map_features
from tacit.errors import ConfigError

# Names under which networks return tokens or maps, and one vector a sample, in order of trust.
_TOKEN_NAMES = ("last_hidden_state", "x_norm_patchtokens", "patches", "tokens", "feature_map")
_POOLED_NAMES = ("pooler_output", "x_norm_clstoken", "pooled", "embedding", "features", "out")
_MAX_PREFIX = 8  # class token and registers


def split_tokens(
    tokens: Tensor, prefix: int | None = None
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Split (N, T, D) into prefix tokens (class, registers) and a square grid of patches.

    With `prefix=None` it is the smallest number in 0..8 that leaves a square number of patches.

    Raises
    ------
    ConfigError
        No such split exists.

    >>> prefix, patches, grid = split_tokens(torch.zeros(1, 197, 8))
    >>> prefix.shape[1], patches.shape[1], grid
    (1, 196, (14, 14))
    """
    count = tokens.shape[1]
    candidates = range(min(_MAX_PREFIX, count - 1) + 1) if prefix is None else (prefix,)
    for first in candidates:
        side = math.isqrt(max(count - first, 0))
        if side > 0 and side * side == count - first:
            return tokens[:, :first], tokens[:, first:], (side, side)
    raise ConfigError(
        f"{count} tokens are not a square grid of patches (and up to {_MAX_PREFIX} class and "
        "register tokens); give the module a method that returns tacit.encoders.Features"
    )


def to_features(output: Any, prefix: int | None = None) -> Features:
    """Read whatever a vision network returns.

    - `Features`: as it is; (N, D): the pooled vector;
    - (N, C, H, W): a map, pooled by its mean; (N, T, D): tokens, pooled by the class token (the
      first one) where there are prefix tokens and by their mean where there are none;
    - a mapping (dict, transformers' ModelOutput): tokens or a map and a pooled vector under their
      usual names (`last_hidden_state`, `pooler_output`, `x_norm_clstoken`, `features`, ...);
    - a list or tuple: the last map of a pyramid of maps, else the first element.

    Raises
    ------
    ConfigError
        Nothing of that kind in the output.

    >>> to_features({"features": torch.zeros(2, 8, 3, 3)}).patches.shape
    torch.Size([2, 9, 8])
    """
    if isinstance(output, Features):
        return output
    if isinstance(output, Tensor):
        if output.ndim == 2:
            return Features(output)
        if output.ndim == 4:
            return map_features(output)
        if output.ndim == 3:
            first, patches, grid = split_tokens(output, prefix)
            pooled = first[:, 0] if first.shape[1] else patches.mean(dim=1)
            return Features(pooled, patches, grid)
        raise ConfigError(
            f"the module returned a tensor of shape {tuple(output.shape)}; expected "
            "(N, D), (N, T, D) or (N, C, H, W)"
        )
    if isinstance(output, Mapping):
        return _from_mapping(output, prefix)
    if isinstance(output, list | tuple) and output:
        maps = all(isinstance(item, Tensor) and item.ndim == 4 for item in output)
        return to_features(output[-1] if maps else output[0], prefix)
    raise ConfigError(
        f"the module returned {type(output).__name__}; expected a tensor, a dict or a list of them"
    )


def _from_mapping(output: Mapping[str, Any], prefix: int | None) -> Features:
    tokens = next((output[name] for name in _TOKEN_NAMES if _has_tensor(output, name)), None)
    pooled = next((output[name] for name in _POOLED_NAMES if _has_tensor(output, name)), None)
    if tokens is None and pooled is None:
        raise ConfigError(
            f"the module returned a dict with the keys {sorted(map(str, output))}; expected one of "
            f"{', '.join(_TOKEN_NAMES + _POOLED_NAMES)}"
        )
    if tokens is None:
        return to_features(pooled, prefix)
    if pooled is None:
        return to_features(tokens, prefix)
    pooled = pooled.flatten(1)
    # Patch tokens under their own name, or of a hierarchical network, have no prefix to remove.
    if tokens.ndim == 3 and "x_norm_patchtokens" in output:
        prefix = 0
    try:
        features = to_features(tokens, prefix)
    except ConfigError:  # no grid, but the pooled vector is there
        return Features(pooled)
    # Pooled vectors of another width (a projection) and patches cannot share one `dim`.
    if features.patches is None or features.patches.shape[-1] != pooled.shape[-1]:
        return Features(pooled)
    return features._replace(pooled=pooled)


def _has_tensor(output: Mapping[str, Any], name: str) -> bool:
    return isinstance(output.get(name), Tensor)


class ModuleEncoder(Encoder):
    """A user's own network as an encoder; its output is read by `to_features`.

    The width is found by a dry run on two images of zeros in eval mode, which changes neither
    weights nor running statistics.

    Parameters
    ----------
    module : called as `module(images)`.
    in_channels, image_size : of the images.
    prefix_tokens : class and register tokens in front of the patches, where the module returns
        tokens; None finds out.

    Raises
    ------
    ConfigError
        The module cannot read such images, or returns nothing that can be used.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    >>> ModuleEncoder(net, in_channels=3, image_size=9).features(torch.zeros(1, 3, 9, 9)).grid
    (4, 4)
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        in_channels: int,
        image_size: int,
        prefix_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.module, self.in_channels, self.prefix_tokens = module, in_channels, prefix_tokens
        modes = [(part, part.training) for part in self.modules()]
        self.eval()
        reference = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        images = torch.zeros(
            2, in_channels, image_size, image_size, dtype=reference.dtype, device=reference.device
        )
        try:
            with torch.no_grad():
                pooled = self.features(images).pooled
        except ConfigError:
            raise
        except Exception as error:  # whatever a foreign network raises, the user sees the cause
            raise ConfigError(
                f"{type(module).__name__} cannot read images of shape {tuple(images.shape[1:])}: "
                f"{error}"
            ) from error
        finally:
            for part, training in modes:
                part.training = training
        if pooled.ndim != 2 or pooled.shape[0] != 2:
            raise ConfigError(
                f"{type(module).__name__} gives pooled features of shape {tuple(pooled.shape)} for "
                "two images; expected (2, D)"
            )
        self.dim = pooled.shape[1]

    def features(self, x: Tensor) -> Features:
        self.check_images(x)
        return to_features(self.call(x), self.prefix_tokens)

    def call(self, x: Tensor) -> Any:
        """The network's own output; adapters of libraries with another call override it."""
        return self.module(x)
